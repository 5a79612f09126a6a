"""Pretraining: a Subset in, a Checkpoint out."""

from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.keep import Keeping
from jftdata.pretrain.loop import run

__all__ = ["Keeping", "PretrainConfig", "run"]
