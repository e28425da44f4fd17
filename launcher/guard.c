#include "guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include "child.h"
#include "count.h"
#include "environment.h"
#include "json.h"

enum {
	MARGIN_MS = 150,	/* before an invocation's deadline; the extension keeps more (lifecycle/deadline.py) */
	LOADING_MS = 5000,	/* how long the platform waits for an extension that has not loaded yet */
	TICK_MS = 1000,		/* while the extension is at work, it is looked after this often */
	FROZEN_MS = 250,	/* how much later we look where all was frozen */
	SILENT_TICKS = 5,	/* after so many without a sign of life it hangs */
	LOADING_TICKS = 10,	/* likewise, before the first one */
	MOST_IN_A_ROW = 3,	/* deaths without an event served between them */
	MOST_DEATHS = 10,	/* in all */
	RESTART_PAUSE_MS = 100, /* before the second restart in a row, doubling; the first is at once */
	FIRST_PAUSE_MS = 50,	/* between failed attempts to ask the platform, doubling */
	LONGEST_PAUSE_MS = 2000,
	SHUTDOWN_MS = 2000, /* what Lambda gives, where it does not say */
	SHUTDOWN_MARGIN_MS = 50,
};

/* Whose turn it is: we have an event, or none yet, and have not asked for the next one; we must ask, but not at once; the
 * platform has been asked. */
enum turn { OURS, OURS_LATER, PLATFORMS };

struct guard {
	const struct start *start;
	struct ready *ready;
	char *const *environment;

	enum turn turn;
	struct http_response answer; /* of the platform, as far as it has come; then the event */
	uint64_t deadline_at;	     /* of the event, less the margin */
	uint64_t late_at;	     /* OURS: when we ask in the extension's place */
	uint64_t ask_at;	     /* OURS_LATER */
	uint64_t pause;
	bool is_unserved; /* the event has not been passed on */
	bool is_over;	  /* it is SHUTDOWN */
	uint64_t end_at;  /* then */

	struct child child;
	bool has_loaded;  /* it has asked for an event */
	bool is_waiting;  /* it has asked for one and got none yet */
	bool is_serving;  /* it has got one and not asked for the next */
	bool is_hung;
	bool is_alone;	  /* it will not be started again */
	bool has_ever_loaded;
	uint64_t start_at; /* or it will, then */
	unsigned deaths, deaths_in_a_row, uncounted;
	struct death last_death;

	uint64_t ticked_at; /* looked after, in time at work */
	uint64_t at_work;   /* since then, when the platform was asked */
	uint64_t beats;
	unsigned silent;
	bool told_late;
};

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static uint64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* A moment of the wall clock less a margin, by the clock that we wait by; now, if it has passed. */
static uint64_t moment(uint64_t wall, uint64_t margin)
{
	uint64_t wall_now = clock_ms(CLOCK_REALTIME);

	return now_ms() + (wall > wall_now + margin ? wall - margin - wall_now : 0);
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

/* --- ask the platform --- */

static void ask_later(struct guard *guard)
{
	guard->pause = guard->pause ? earlier(guard->pause * 2, LONGEST_PAUSE_MS) : FIRST_PAUSE_MS;
	guard->ask_at = now_ms() + guard->pause;
	guard->turn = OURS_LATER;
}

static void expect_event(struct guard *guard)
{
	http_begin(&guard->answer, "");
	guard->is_unserved = false;
	guard->turn = PLATFORMS;
	guard->at_work = now_ms() - guard->ticked_at;
}

static void ask(struct guard *guard)
{
	if (ask_for_event(guard->ready))
		ask_later(guard);
	else
		expect_event(guard);
}

static void ask_in_its_place(struct guard *guard)
{
	if (!guard->told_late)
		tell_late(guard->start, guard->has_loaded);
	guard->told_late = true;
	ask(guard);
}

/* --- pass events on --- */

static void pass_on(struct guard *guard)
{
	child_answer(&guard->child, &guard->answer);
	guard->late_at = guard->deadline_at;
	guard->is_unserved = false;
	guard->is_waiting = false;
	guard->is_serving = true;
}

static void serve(struct guard *guard)
{
	guard->turn = OURS;
	guard->is_unserved = true;
	guard->pause = 0;
	guard->ticked_at = now_ms() - guard->at_work;
	if (guard->is_waiting)
		pass_on(guard);
	else if ((!guard->child.id || guard->is_hung) && !guard->is_over)
		ask(guard);
}

static void take_event(struct guard *guard)
{
	struct text type = json_string(guard->answer.body, "eventType");
	uint64_t deadline = json_number(guard->answer.body, "deadlineMs");

	if (guard->answer.status == 200 && text_equals(type, "INVOKE")) {
		guard->deadline_at = moment(deadline, MARGIN_MS);
		guard->late_at = earlier(guard->deadline_at, now_ms() + LOADING_MS);
		serve(guard);
	} else if (guard->answer.status == 200 && text_equals(type, "SHUTDOWN")) {
		guard->is_over = true;
		guard->end_at = moment(deadline, SHUTDOWN_MARGIN_MS);
		if (guard->end_at <= now_ms())
			guard->end_at = now_ms() + SHUTDOWN_MS;
		serve(guard);
	} else {
		runtime_api_close(&guard->ready->api);
		ask_later(guard);
	}
}

static void take_answer(struct guard *guard)
{
	if (runtime_api_receive(&guard->ready->api, &guard->answer))
		ask_later(guard);
	else if (guard->answer.state == HTTP_COMPLETE)
		take_event(guard);
}

/* --- the extension --- */

static void stay_alone(struct guard *guard)
{
	guard->is_alone = true;
	listeners_close(&guard->ready->listeners);
}

/* It has not served once, and will not be started again. */
static void give_up(struct guard *guard, const char *cause)
{
	tell_too_late(guard->start, cause, verdict_keep(&guard->start->layer, cause));
}

static void give_up_after(struct guard *guard, const struct death *death)
{
	char cause[VERDICT_CAUSE_SIZE];
	struct writer to = WRITER(cause);

	write_cause(&to, death);
	give_up(guard, cause);
}

static void mourn(struct guard *guard)
{
	bool too_often = ++guard->deaths >= MOST_DEATHS || ++guard->deaths_in_a_row >= MOST_IN_A_ROW;
	bool may_tell_why = guard->child.ledger && guard->last_death.exit_code == CANNOT_EXECUTE;
	uint64_t exec_error = may_tell_why ? guard->child.ledger->exec_error : 0;

	guard->uncounted++;
	if (exec_error) {
		tell_alone(guard->start, (int)exec_error);
		give_up(guard, error_text((int)exec_error));
		stay_alone(guard);
	} else {
		tell_death(guard->start, &guard->last_death, guard->deaths, too_often || guard->is_over,
			   guard->child.ledger);
		if (too_often && !guard->has_ever_loaded)
			give_up_after(guard, &guard->last_death);
		if (too_often)
			stay_alone(guard);
	}
	guard->start_at = now_ms();
	if (guard->deaths_in_a_row > 1)
		guard->start_at += RESTART_PAUSE_MS << (guard->deaths_in_a_row - 2);
}

static void take_death(struct guard *guard)
{
	guard->last_death = child_reap(&guard->child);
	guard->last_death.is_hung = guard->is_hung;
	guard->last_death.phase = guard->is_serving ? SERVING : guard->has_loaded ? WAITING : LOADING;
	if (!guard->is_over || guard->is_unserved)
		mourn(guard);
	guard->is_waiting = false;
	if (guard->turn == OURS && !guard->is_over)
		ask(guard);
}

static void start_child(struct guard *guard)
{
	if (guard->child.ledger)
		guard->child.ledger->beats = 0;
	guard->has_loaded = guard->is_waiting = guard->is_serving = guard->is_hung = false;
	guard->beats = guard->silent = guard->at_work = 0;
	guard->ticked_at = now_ms();
	if (child_start(&guard->child, guard->start, guard->ready, guard->environment))
		return;
	guard->last_death = (struct death){.phase = LOADING, .unborn_error = errno};
	mourn(guard);
}

static void count_deaths(struct guard *guard)
{
	if (guard->uncounted)
		count_deaths_of_extension(guard->uncounted, &guard->last_death, guard->environment);
	guard->uncounted = 0;
}

static void take_requests(struct guard *guard)
{
	int requests = child_requests(&guard->child);

	if (requests < 0)
		take_death(guard);
	if (requests <= 0)
		return;
	if (guard->is_serving)
		guard->deaths_in_a_row = 0;
	guard->has_loaded = guard->has_ever_loaded = guard->is_waiting = true;
	guard->is_serving = false;
	guard->silent = 0;
	count_deaths(guard);
	if (guard->turn != OURS)
		return;
	if (guard->is_unserved)
		pass_on(guard);
	else if (!guard->is_over)
		ask(guard);
}

/* --- time --- */

/* Only then is it looked after. While the platform's turn lasts, the function may still run, with a tracer that waits for
 * one that loads, or has asked early for the next event. One that was late may just go on slowly then; but on Managed
 * Instances nothing is ever frozen. */
static bool is_at_work(const struct guard *guard)
{
	bool may_be_waited_for = guard->is_waiting || !guard->has_loaded;

	return guard->child.id && (guard->turn == OURS || may_be_waited_for || guard->ready->managed);
}

/* Frozen, it gives no sign; but then we come late ourselves. */
static bool has_been_frozen(const struct guard *guard)
{
	return guard->turn != OURS && !guard->ready->managed && now_ms() >= guard->ticked_at + TICK_MS + FROZEN_MS;
}

static void end_hang(struct guard *guard)
{
	guard->is_hung = true;
	child_kill(&guard->child);
	/* It may take its time to die: one that waits for a file system does. */
	if (guard->turn == OURS && !guard->is_over)
		ask(guard);
}

static void look_after(struct guard *guard)
{
	bool was_frozen = has_been_frozen(guard);
	uint64_t beats;

	guard->ticked_at = now_ms();
	/* Without a pidfd nothing tells of its end while a process that it has forked holds the connection. */
	if (guard->child.process < 0)
		take_requests(guard);
	if (!guard->child.ledger || !guard->child.id || was_frozen)
		return;
	beats = guard->child.ledger->beats;
	guard->silent = beats == guard->beats ? guard->silent + 1 : 0;
	guard->beats = beats;
	if (guard->ready->managed && guard->has_loaded && !guard->silent)
		guard->deaths_in_a_row = 0; /* no event says so there */
	if (guard->silent >= (beats ? SILENT_TICKS : LOADING_TICKS))
		end_hang(guard);
}

static void look_at_clock(struct guard *guard)
{
	uint64_t now = now_ms();

	if (guard->turn == OURS_LATER && now >= guard->ask_at)
		ask(guard);
	if (guard->turn == OURS && !guard->is_over && now >= guard->late_at)
		ask_in_its_place(guard);
	if (is_at_work(guard) && now >= guard->ticked_at + TICK_MS)
		look_after(guard);
	if (!guard->child.id && !guard->is_alone && !guard->is_over && now >= guard->start_at)
		start_child(guard);
}

static uint64_t next_moment(const struct guard *guard)
{
	uint64_t moment_ = UINT64_MAX;

	if (guard->turn == OURS_LATER)
		moment_ = guard->ask_at;
	if (guard->turn == OURS)
		moment_ = guard->is_over ? guard->end_at : guard->late_at;
	if (is_at_work(guard))
		moment_ = earlier(moment_, guard->ticked_at + TICK_MS);
	if (!guard->child.id && !guard->is_alone)
		moment_ = earlier(moment_, guard->start_at);
	return moment_;
}

static int milliseconds_until(uint64_t moment_)
{
	uint64_t now = now_ms();

	return moment_ == UINT64_MAX ? -1 : moment_ <= now ? 0 : (int)earlier(moment_ - now, 1 << 30);
}

/* --- all of it --- */

static bool is_finished(const struct guard *guard)
{
	return guard->is_over && (!guard->child.id || now_ms() >= guard->end_at);
}

static void watch(struct guard *guard)
{
	while (look_at_clock(guard), !is_finished(guard)) {
		struct pollfd files[] = {
			{.fd = guard->turn == PLATFORMS ? guard->ready->api.socket : -1, .events = POLLIN},
			{.fd = guard->child.socket, .events = POLLIN},
			{.fd = guard->child.process, .events = POLLIN},
		};

		if (poll(files, 3, milliseconds_until(next_moment(guard))) <= 0)
			continue;
		/* First what it has asked for: it does not get an event twice. */
		if (files[1].revents || files[2].revents)
			take_requests(guard);
		if (files[0].revents && guard->turn == PLATFORMS)
			take_answer(guard);
	}
}

static void begin(struct guard *guard)
{
	guard->child.socket = guard->child.process = guard->child.books = -1;
	guard->ticked_at = now_ms();
	guard->late_at = now_ms() + LOADING_MS;
	if (guard->ready->reached_ns[ASKED])
		expect_event(guard);
}

bool is_guarded(char *const *environment)
{
	const char *variable = environment_get(environment, "FLIPTOP_GUARD");

	return !variable || !text_equals_folded(text_trimmed(text_of(variable)), "off");
}

int stand_guard(const struct start *start, struct ready *ready, char *const *environment)
{
	static struct guard guard;

	guard = (struct guard){.start = start, .ready = ready, .environment = environment};
	begin(&guard);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would keep from us how a child has ended */
	guard.child.ledger = books_make(&guard.child.books);
	watch(&guard);
	return 0;
}

int stand_alone(const struct start *start, struct ready *ready, int error)
{
	static struct guard guard;

	guard = (struct guard){.start = start, .ready = ready};
	begin(&guard);
	tell_alone(start, error);
	give_up(&guard, error_text(error));
	stay_alone(&guard);
	watch(&guard);
	return 0;
}
