"""The shapes that rules rely on, checked at the door, so that no rule meets a number where a list is due.

Only what rules read is checked, and only its type; unknown kinds and fields pass.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Manifest, Ref

Table = dict[str, Any]
Tables = list[Table]


class _Metadata(msgspec.Struct):
    labels: Table | None = None
    annotations: Table | None = None


class _Named(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    limits: Table | None = None
    requests: Table | None = None


class _Container(msgspec.Struct):
    name: str
    image: str | None = None
    env: list[_Named] | None = None
    envFrom: Tables | None = None  # noqa: N815 - the API's own name
    ports: Tables | None = None
    resources: _Resources | None = None
    volumeMounts: list[_Named] | None = None  # noqa: N815
    livenessProbe: Table | None = None  # noqa: N815
    readinessProbe: Table | None = None  # noqa: N815


class _PodSpec(msgspec.Struct):
    containers: list[_Container]
    nodeSelector: Table | None = None  # noqa: N815
    affinity: Table | None = None
    tolerations: Tables | None = None
    volumes: list[_Named] | None = None
    imagePullSecrets: list[_Named] | None = None  # noqa: N815
    dnsConfig: Table | None = None  # noqa: N815


class _Template(msgspec.Struct):
    spec: _PodSpec
    metadata: _Metadata | None = None


class _WorkloadSpec(msgspec.Struct):
    template: _Template
    replicas: int | None = None


class _ServiceSpec(msgspec.Struct):
    selector: Table | None = None
    ports: Tables | None = None


class _Any(msgspec.Struct):
    metadata: _Metadata


class _Workload(_Any):
    spec: _WorkloadSpec


class _Service(_Any):
    spec: _ServiceSpec


class _Claim(_Any):
    spec: Table


class _Data(_Any):
    data: Table | None = None
    stringData: Table | None = None  # noqa: N815


_SHAPES: dict[str, type[_Any]] = {
    **dict.fromkeys(WORKLOAD_KINDS, _Workload),
    "Service": _Service,
    "PersistentVolumeClaim": _Claim,
    "PersistentVolume": _Claim,
    "ConfigMap": _Data,
    "Secret": _Data,
}


def shape_fault(ref: Ref, manifest: Manifest) -> str | None:
    """What is wrong with a manifest's shape, naming the object and the place; None where nothing is."""
    try:
        msgspec.convert(manifest, _SHAPES.get(ref.kind, _Any))
    except msgspec.ValidationError as error:
        return f"{ref}: {error}"
    return None
