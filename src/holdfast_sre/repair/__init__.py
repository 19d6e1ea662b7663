"""From a cause to a patch that changes nothing else: `propose` decides, `manifests` and the `yaml_*` modules write the
leaves into the files, `changelog` asks history who changed what, `rollout` says who recovers.
"""
