"""Pretraining: a Subset in, a Checkpoint out."""

from jftdata.pretrain.config import PretrainConfig
from jftdata.pretrain.loop import run

__all__ = ["PretrainConfig", "run"]
