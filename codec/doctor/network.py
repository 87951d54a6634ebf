"""Checks of what lies outside the node."""

import os
import urllib.error
import urllib.request

from codec.doctor.finding import Finding, failing, ok, warning
from codec.doctor.plan import Plan

SECONDS = 5.0
WANDB = "wandb=offline, and `wandb sync` later; or wandb=disabled: metrics.jsonl holds the same numbers"


def check_wandb(plan: Plan) -> Finding:
    """What `wandb=` will come to, and whether the server answers when it must."""
    mode = os.environ.get("WANDB_MODE", "online") if plan.wandb == "auto" else plan.wandb
    if mode in ("offline", "disabled", "dryrun"):
        return ok(f"{mode}; metrics.jsonl holds the numbers")
    import wandb

    if not wandb.login(prompt=False, verify=False):
        if plan.wandb == "online":
            return failing("wandb=online, but not logged in", f"run `wandb login`; or {WANDB}")
        return ok("offline: not logged in (`wandb login`); metrics.jsonl holds the numbers")
    server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    try:
        urllib.request.urlopen(server, timeout=SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        said = f"online: {server} does not answer ({getattr(error, 'reason', error)})"
        return failing(said, WANDB) if plan.wandb == "online" else warning(said, WANDB)
    return ok(f"online: logged in, {server} answers")
