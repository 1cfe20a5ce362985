"""New settings for a mount that goes on (SIGHUP).

What it is: the settings that can change while it is mounted, and how each does.
What it is not: where they are read from (`cli`).
Invariant: what cannot change is named in the log, not taken over by half; the caller keeps the old value of it.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace

from storemount.assembly import Mount
from storemount.config import MountSettings

log = logging.getLogger(__name__)

LIVE = ("log_level", "cache_size", "uploads", "drain_timeout")


def renewed(mount: Mount, old: MountSettings, new: MountSettings) -> MountSettings:
    """`old` with what of `new` can be had at once, which `mount` has from now on; logs the rest."""
    settings = replace(old, **{name: getattr(new, name) for name in LIVE})
    logging.getLogger().setLevel(settings.log_level.upper())
    mount.blocks.resize(settings.cache_size)
    mount.worker.allow(settings.uploads)
    later = [field.name for field in fields(new) if field.name not in LIVE and getattr(new, field.name) != getattr(old, field.name)]
    if later:
        log.warning("%s: changed in the settings, and taken over by the next mount only", ", ".join(later))
    changed = [name for name in LIVE if getattr(new, name) != getattr(old, name)]
    log.info("the settings were read again; changed: %s", ", ".join(changed) or "nothing")
    return settings
