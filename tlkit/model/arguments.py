"""Check the arguments of a call: a name that is not known becomes an error that offers the nearest one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

from tlkit.errors import TlkitError, nearest
from tlkit.model import argument_names

P = ParamSpec("P")
R = TypeVar("R")

# Arguments that Keras has and tlkit names otherwise, or does by itself.
_KERAS = {
    "learning_rate": "lr= of compile is the learning rate",
    "metrics": "every metric of the head's task is computed; history and evaluate have them; a callback computes others from model.predict",
    "shuffle": "training images are shuffled anew in every epoch",
    "sample_weight": "class_weight= weighs classes; single images cannot be weighed",
    "initial_epoch": "epochs= counts those of this call; another fit goes on from where the last one ended",
    **dict.fromkeys(
        ("validation_steps", "validation_batch_size", "validation_freq"), "every validation image is evaluated after each epoch"
    ),
    **dict.fromkeys(("workers", "use_multiprocessing", "max_queue_size"), "tlkit decodes images by itself, in several threads"),
    **dict.fromkeys(("run_eagerly", "jit_compile", "steps_per_execution"), "tlkit chooses how a step runs, by measurement"),
    **dict.fromkeys(("weighted_metrics", "loss_weights"), "class_weight= of fit weighs classes"),
    "momentum": 'optimizer={"name": "sgd", "momentum": 0.9}',
    "weight_decay": 'optimizer={"name": "adamw", "weight_decay": 0.01}',
    **dict.fromkeys(("clipnorm", "clip_norm"), 'optimizer={"name": "adam", "clip_norm": 1.0}'),
    "label_smoothing": 'loss={"label_smoothing": 0.1}',
    "num_classes": "classes= is how many, or their names",
    "trainable": 'model.freeze("backbone")',
    "dropout": 'head={"kind": "linear", "options": {"dropout": 0.2}}',
    "pooling": 'the head reads the mean over the image; head={"kind": .., "pooled": False} reads every value',
    "include_top": "the backbone never has its classifier; head= names one of your own",
    "input_shape": "image_size= is the side of the input, or (height, width)",
    "steps": "every image is used once; give fewer images",
    "steps_per_epoch": "an epoch is every training image once; split={'train': N} trains on fewer",
}

# Methods and attributes that Keras's models, or modules of torch, have and tlkit's models have not.
_KERAS_METHODS = {
    "layers": "model.stages are its parts: for stage in model.stages.values(): ..; model.network is the torch module",
    "get_layer": 'model.stages["layer4"] is a part',
    **dict.fromkeys(("weights", "variables", "non_trainable_weights", "trainable_variables"), "model.network.parameters()"),
    **dict.fromkeys(("input_shape", "output_shape", "inputs", "outputs"), "model.summary() shows the sizes of every stage"),
    **dict.fromkeys(("loss", "metrics", "metrics_names"), "model.evaluate(x, y) returns the loss and every metric by name"),
    "export": 'model.save(FOLDER), then tlkit.export(FOLDER, to="onnx")',
    "add": 'a new head is named where the model is made: Model(.., head="mlp")',
    "build": "Model(.., classes=10, image_size=224) builds the network",
    "save_weights": "model.save(FOLDER) writes weights, recipe and classes",
    "load_weights": 'tlkit.load(FOLDER), or Model(.., weights="run:FOLDER")',
    "get_weights": "copy.deepcopy(model.network.state_dict()); fit ends with the weights of the best epoch by itself",
    "set_weights": 'model.network.load_state_dict(weights), or Model(.., weights="file.pth")',
    "trainable_weights": "model.stages say what trains; model.summary() lists it",
    "count_params": "model.summary() counts parameters",
    **dict.fromkeys(("predict_on_batch", "predict_proba"), "model.predict(x)"),
    "predict_classes": "model.predict(x).labels are names, model.predict(x).argmax(1) numbers",
    "score": 'model.evaluate(x, y)["accuracy"]',
    "transform": "model.embed(x)",
    "get_params": "is no estimator of scikit-learn: model.embed(x) gives features for one",
    "train_on_batch": "model.fit(x, y, epochs=1)",
    "test_on_batch": "model.evaluate(x, y)",
    "fit_generator": "model.fit takes arrays, a folder or a PyTorch data set",
    "to_json": "model.to_recipe(FILE) writes the recipe",
    "optimizer": "model.compile(optimizer=.., lr=.., schedule=..) says how it learns; callbacks cannot change a rate",
    # and what a torch module has
    "parameters": "model.network.parameters()",
    "forward": "model.predict(x) takes pictures, and model.network(x) what is normalised already",
    **dict.fromkeys(("requires_grad_", "zero_grad"), 'model.freeze("stem") freezes a stage'),
    **dict.fromkeys(("children", "modules", "named_parameters"), "model.network is the torch module"),
    "eval": "predict and evaluate compute in eval mode by themselves",
    "train": "fit puts what trains into training mode by itself",
    "to": 'Model(.., device="cuda")',
    "cuda": 'Model(.., device="cuda")',
    "load_state_dict": 'Model(.., weights="file.pth"), or model.network.load_state_dict',
}


_OF_RECIPES = ("Model.from_recipe", "load")  # calls whose user wrote the keys of a recipe


def no_attribute(owner: type, name: str) -> AttributeError:
    """Return the error for an attribute that a Model does not have, with what does the same if it is one of Keras's."""
    if name in ("_setup", "_turn"):
        return AttributeError(f"tlkit.Model has no attribute {name!r}: a subclass's __init__ calls super().__init__(..) first")
    hint = _KERAS_METHODS.get(name) or nearest(name, [each for each in dir(owner) if not each.startswith("_")])
    return AttributeError(f"tlkit.Model has no attribute {name!r}{hint and f': {hint}'}")


def refuse_unknown(where: str, owner: object, name: str, hint: str = "") -> None:
    """Raise TlkitError where an attribute is set that an object's class does not have, which would do nothing.

    A name that begins with an underscore is the program's own, and so is any name of an object of a subclass of its own.

    Args:
        where: Begins the message: "Model".
        owner: The object.
        name: Of the attribute.
        hint: What does the same, where that is known.
    """
    kind = type(owner)
    if name.startswith("_") or hasattr(kind, name) or not kind.__module__.startswith("tlkit."):
        return
    settable = [
        each for each, value in vars(kind).items() if each[0] != "_" and not callable(value) and getattr(value, "fset", True)
    ]
    hint = hint or _KERAS_METHODS.get(name, "") or nearest(name, settable)
    raise TlkitError(
        f'{where}: has no "{name}" to set.', hint or f'a name of your own begins with "_", or a subclass has it: _{name}'
    )


def named(where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that raises TlkitError where the arguments do not fit the function.

    Args:
        where: Begins the message: "Model.fit".
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            known = [name for name in signature.parameters if name not in ("self", "cls")]
            for name in kwargs:
                if name not in known:
                    hint = _KERAS.get(name) or nearest(name, known)
                    raise TlkitError(f'{where}: has no argument "{name}".', hint, f"arguments: {', '.join(known)}")
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                by_name = [each for each in known if signature.parameters[each].kind is inspect.Parameter.KEYWORD_ONLY]
                first = ", ".join(each for each in known if each not in by_name)
                rest = f"by name: {', '.join(f'{each}=' for each in by_name)}" if by_name else ""
                raise TlkitError(f"{where}: {error}.", f"arguments: {first or 'none by position'}", rest) from error
            try:
                return function(*args, **kwargs)
            except TlkitError as error:
                if where not in _OF_RECIPES:
                    error.reword_(
                        lambda text: _placed(argument_names.problem(text, given), where),
                        lambda text: argument_names.hint(text, given),
                    )
                raise

        return call

    return decorate


def _placed(problem: str, where: str) -> str:
    return where + problem.removeprefix("Model") if problem.startswith("Model: ") else problem


def check_count(what: str, value: object, *, least: int) -> None:
    """Raise TlkitError where a value is no whole number, or less than `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise TlkitError(f"{what} is {value!r}.", f"a whole number, at least {least}")


def table_of(value: object) -> dict[str, Any]:
    """Return a table of the recipe; what is no mapping is its name, right or wrong."""
    return plain(value) if isinstance(value, Mapping) else {"name": value}


def plain(value: object) -> Any:
    """Return a value as TOML has it: dict for a mapping, list for a tuple or an array, a number of Python for one of NumPy.

    The recipe refuses what cannot be one.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value
