"""What is known about a cluster: the neutral snapshot, and one reader for each layout of files.

`snapshot` is what everybody else reads; `recording` writes and reads it as one file; `opsbench` and the `kubectl_*`
modules read other tools' output; `dump` and the modules that it calls read what kubectl gives; `sources` finds what may
be read at a path. A new layout is a new reader that fills a `Snapshot`.
"""
