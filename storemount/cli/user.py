"""What every command needs of the person who typed it.

What it is: this user's folders, registry and ZenML, made once from the environment.
What it is not: state; nothing is kept between commands.
"""

from __future__ import annotations

from storemount.cli.names import RESERVED
from storemount.config import Places, environment
from storemount.registry.stores import Registry
from storemount.zenml.names import ZenML


def places() -> Places:
    return Places.of(environment())


def registry() -> Registry:
    return Registry(places(), environ=environment(), reserved=RESERVED, zenml=zenml())


def zenml() -> ZenML:
    return ZenML(environment())
