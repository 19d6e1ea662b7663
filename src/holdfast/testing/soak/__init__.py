"""A soak: real processes and servers, tormented for as long as you like, and judged by what the world saw.

`shapes` draws workflows from a seed, `workflows` makes them code, `worker` is one process. `cluster` has the servers
and the network, `processes` the processes, `torment` what is done to them. `ledger` is the outside world, in `lines`.
`gathering` reads the store in the end, `rules` judges, `conductor` leads through all of it.
"""

from holdfast.testing.soak.conductor import soak
from holdfast.testing.soak.options import SoakOptions, SoakReport
from holdfast.testing.soak.rules import AUDITS, Evidence, audited
from holdfast.testing.soak.shapes import Shape

__all__ = ["AUDITS", "Evidence", "Shape", "SoakOptions", "SoakReport", "audited", "soak"]
