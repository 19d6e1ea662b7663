"""From a cause to a patch that changes nothing else. `propose` decides: values from the last known good, `revisions` or
`siblings`, within `policy`, without `drift`, held to the `schema`. `history` and `changelog` ask who changed what,
`blast_radius` says whom it touches, `regression_test` keeps it mended. `manifests` and the `yaml_*` modules write into
files, `layouts` finds the place where a program builds them, by `place_search` in `places`; `releases` knows which a
chart has. `offer` puts it together; `rollout` says who recovers.
"""
