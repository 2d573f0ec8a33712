"""Training as a pure step, and the loop that runs several seeds of it through kills and resumes."""

from cnnjax.training.checkpoint import load_tree, read_arrays, save_tree
from cnnjax.training.config import Hyper, Settings, TrainConfig
from cnnjax.training.devices import Placement, choose_placement
from cnnjax.training.execution import networks_at_once, run_steps, stack, unstack
from cnnjax.training.loop import (
    CHUNK,
    DivergedError,
    Training,
    check_steps,
    init_states,
    program_key,
    train,
    train_together,
    with_recipe,
)
from cnnjax.training.pace import steps_memory, timed_steps
from cnnjax.training.step import (
    Epoch,
    StepSpec,
    TrainState,
    batch_step,
    init_state,
    learning_rate,
    make_optimizer,
    train_step,
)

__all__ = [
    "CHUNK",
    "DivergedError",
    "Epoch",
    "Hyper",
    "Placement",
    "Settings",
    "StepSpec",
    "TrainConfig",
    "TrainState",
    "Training",
    "batch_step",
    "check_steps",
    "choose_placement",
    "init_state",
    "init_states",
    "learning_rate",
    "load_tree",
    "make_optimizer",
    "networks_at_once",
    "program_key",
    "read_arrays",
    "run_steps",
    "save_tree",
    "stack",
    "steps_memory",
    "timed_steps",
    "train",
    "train_step",
    "train_together",
    "unstack",
    "with_recipe",
]
