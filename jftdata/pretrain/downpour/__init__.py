"""Asynchronous SGD with parameter servers (Downpour SGD), on Ray actors (extra `ray`).

Workers fetch the body's parameters, compute the gradient of a step and push it; body servers hold a part of the body each and apply
what comes as it comes. The head never leaves its servers: workers send them features and get back the loss and its gradient. Weights
depend on who is faster, so two runs differ, and a resumed one differs from an undisturbed one.

Source: Dean et al. 2012, *Large Scale Distributed Deep Networks*, section 4.1; Sun et al. 2017, section 4.1. Not theirs: the bound on
staleness, optimizers with averages on the servers, and that a worker does not update its own copy between fetches.
"""

from jftdata.pretrain.downpour.driver import run
from jftdata.pretrain.downpour.settings import Downpour, paper

__all__ = ["Downpour", "paper", "run"]
