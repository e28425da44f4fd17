"""What logs tell about starts of the extension: which fell back to legacy, for what reason, and out of how many.

Data flows one way: `exports` (bytes of any export → records) → `sightings` (a record's text → what it tells) →
`tally` (sightings → figures) → `plot`. None of them keeps more than one event and the figures in memory.
"""

from fliptop_lab.fallbacks.exports import Export, records
from fliptop_lab.fallbacks.plot import plot
from fliptop_lab.fallbacks.tally import Figures, ReasonFigures, Tally

__all__ = ["Export", "Figures", "ReasonFigures", "Tally", "plot", "records"]
