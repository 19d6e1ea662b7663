"""What agents may do to the world: typed tools, for those whose scopes allow them, each call bounded and on record.

A `tool` is a definition: a function, its parameters as a schema (`signature`), where it runs, what it may use up.
`dispatcher` is the way to call one; `rules` decide who may, and what a call that was made before with the same key
means; `ledger` keeps the row of each call; `process` runs what must be killable in a program of its own (`child`).
"""

from holdfast.agents.tools.dispatcher import BoundTools, ToolDispatcher
from holdfast.agents.tools.ledger import ToolCall
from holdfast.agents.tools.rules import ToolFailed
from holdfast.agents.tools.tool import Tool, tool

__all__ = ["BoundTools", "Tool", "ToolCall", "ToolDispatcher", "ToolFailed", "tool"]
