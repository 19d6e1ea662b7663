"""What changed before it broke: commits of the manifests and of the services' sources, weighed against a finding.

`diffs` and `keys` read what a commit touched, `running` which commit of a source runs, `suspects` weighs changes,
`key_users` tells who else uses what was changed. All of them are pure; texts of commits are data from outside.
"""
