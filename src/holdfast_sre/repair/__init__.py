"""From a cause to a patch that changes nothing else.

`propose` decides, within what `policy` allows; `offer` makes the decision ready to be read and merged; `wishes` takes
up what a reviewer asked for; `rollout` tells on a recorded cluster what it would do. Values come from `last_good`,
files are read and edited in `tree`, what a program builds is searched in `built`, and what a proposal is shown with is
`proof`.
"""
