// A function that Datadog's library wraps and its tracer, dd-trace, follows.
const tracer = require(`${process.env.CLIENT_PACKAGES}/node_modules/dd-trace`);

exports.handler = async event => {
  const { orders = 0, fails } = event;
  return tracer.trace("shop.order", { resource: "POST /orders", service: "shop", type: "web" }, async order => {
    order.setTag("order.kind", "book");
    order.setTag("order.items", orders);
    for (let number = 0; number < orders; number++)
      tracer.trace("shop.item", { resource: `item ${number}`, service: "shop-items" }, () => {});
    if (fails) throw new Error("as it was told to");
    return { orders };
  });
};
