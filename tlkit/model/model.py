"""A network with the verbs that Keras has: compile, fit, evaluate, predict, embed, summary, save.

The rule: a Model builds a recipe, its argument names are the recipe's keys, and it trains as `tlkit apply` does, in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from torch import Tensor

from tlkit import machine
from tlkit.engine.estimators import FittedHead
from tlkit.engine.images.views import check as check_views
from tlkit.errors import TlkitError, as_path
from tlkit.model import compiling, evaluation, fits, loading, own_network, pictures, progress, saving
from tlkit.model.arguments import check_count, named, no_attribute, plain, refuse_unknown
from tlkit.model.callbacks import checked
from tlkit.model.classes import Classes, classes_of
from tlkit.model.compiling import Rates
from tlkit.model.history import History
from tlkit.model.labels import Labels
from tlkit.model.predictions import Predictions
from tlkit.model.saving import Standing
from tlkit.model.seen_data import Seen
from tlkit.model.setup import Setup, Tables, input_keys
from tlkit.model.stages import Stages
from tlkit.model.training import Training
from tlkit.model.turns import in_turn
from tlkit.network import weights as weight_names
from tlkit.network.network import Network
from tlkit.network.turns import Turn
from tlkit.plugin import Images
from tlkit.recipe.map_tables import Auto
from tlkit.recipe.maps import HEAD
from tlkit.recipe.recipe import SEEDS
from tlkit.reports import plan_table
from tlkit.reports.html import html
from tlkit.run import executor, failures, torch_settings
from tlkit.run.prediction import Predictor
from tlkit.sources.places import Places


class Model:
    """A backbone and a head, trained from Python.

    Args:
        backbone: A name that `tlkit list` shows.
        weights: A name that the backbone offers, "none" or None for random weights, a file, or "run:PATH" of an earlier run.
        head: A head's name, or the recipe's table [head].
        batch_norm: "running": BatchNorm of the backbone keeps and uses its running statistics in training too, as in Keras a
            backbone that is called with `training=False`. "batch": where its stage trains, it goes by each batch.
        input: How pixels reach the network, where the weights do not say it: "torch", "caffe", or the recipe's table.
        classes: How many, or their names in output order; left out, the first `fit` says it.
        image_size: Side of the input in pixels, or (height, width); the backbone's usual size where not given.
        channels: Number of bands of images of bands; not given for colour pictures.
        seed: Of random weights, data order and augmentation.
        device: "auto", "cpu", "cuda".
        offline: Forbid downloads.

    Attributes:
        stop_training: A callback sets it to end training after the epoch.
        history: What the last `fit` returned, or had done when it failed.

    Raises:
        TlkitError: a name is wrong, or the weights are not here and cannot be downloaded.

    Examples:
        >>> import numpy as np, tlkit
        >>> model = tlkit.Model("cifar_resnet20", classes=["cat", "dog"], image_size=32, device="cpu")
        >>> model.freeze("stem").compile(optimizer="adam", lr=1e-3)
        >>> x = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), np.uint8)
        >>> history = model.fit(x, ["cat", "dog"] * 10, epochs=1, batch_size=8, verbose=0)
        >>> model.predict(x).shape
        (20, 2)
    """

    stop_training = False
    history: History | None = None

    @named("Model")
    def __init__(
        self, backbone: str, *, weights: str | None = "none", head: str | Mapping[str, Any] = "linear",
        classes: int | Sequence[str] | None = None, image_size: int | Sequence[int] | None = None, channels: int | None = None,
        input: str | Mapping[str, Any] | None = None, batch_norm: str = "batch",  # both as in the recipe
        seed: int = 0, device: str = "auto", offline: bool = False,
    ) -> None:  # fmt: skip
        tables: Tables = {
            "backbone": {"name": backbone, "weights": "none" if weights is None else weights},
            "freeze": {},
            "data": {},
        }
        if input is not None:
            tables["backbone"]["input"] = plain(input)
        if batch_norm != "batch":
            tables["backbone"]["batch_norm"] = plain(batch_norm)
        if not isinstance(head, str | Mapping):
            own = "a module of your own is offered by a plugin, see docs/plugins.md"
            raise TlkitError(f"Model: head is {head!r}.", "a head's name, or the recipe's table [head]", own)
        if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
            raise TlkitError(f"Model: seed is {seed!r}.", f"a whole number from 0 to {SEEDS - 1}")
        tables["head"] = plain(head) if isinstance(head, Mapping) else {"kind": head}
        if image_size is not None:
            tables["data"]["image_size"] = plain(image_size)
        if channels is not None:
            tables["data"]["channels"] = plain(channels)
        places = Places(recipe=Path.cwd(), offline=offline, settings=False)
        self._start(Setup(tables, places, plain(seed), executor.device_of(device)), classes_of(classes))

    def _start(self, setup: Setup, classes: Classes, network: Network | None = None) -> None:
        self._setup = setup
        self._turn = Turn()
        self._classes = classes
        self._standing = Standing()
        self._usual: Tables = {}  # what a recipe says of epochs and data, where fit does not
        self._weights: str | None = setup.tables["backbone"]["weights"]  # what a recipe calls the network as it is now
        self._last: fits.Fitted | None = None
        self._seen = Seen()
        self._network, self._written = network, [] if network is None else own_network.written(network)
        if network is None:
            setup.resolved(where="Model")
            if classes.count is not None:
                self._classes = classes.as_in_run(setup.names_of_run())
                self._build(self._classes)

    @classmethod
    @named("Model.from_recipe")
    def from_recipe(cls, file: str | Path, *, arm: str | None = None, device: str = "auto", offline: bool = False) -> Model:
        """Build the network of a recipe; `fit()` without images then trains what the recipe says.

        A Model is one run: it has the recipe's first seed. [cross_validation] and [adapt] are for `tlkit.apply`; a Model leaves them
        out, says so, and trains on the data set's training images.

        Args:
            file: The TOML file.
            arm: Which arm, where there are several.
            device: "auto", "cpu", "cuda".
            offline: Forbid downloads.

        Raises:
            TlkitError: the recipe cannot be used, or has several arms and none is named.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=4, image_size=32, device="cpu")
            >>> model.compile(optimizer="sgd", lr=0.01)
            >>> data = {"classes": 4, "train": 32, "test": 8}
            >>> history = model.fit("synthetic", options=data, epochs=1, verbose=0)
            >>> model.to_recipe("mine.toml")
            >>> again = tlkit.Model.from_recipe("mine.toml", device="cpu")
            >>> history == again.fit(verbose=0) or "the times differ"
            'the times differ'
        """
        tables, seed, places = loading.recipe(as_path(file, "file"), arm, offline=offline)
        model = cls.__new__(cls)
        usual = {"data": tables["data"], "schedule": tables["schedule"]}
        usual |= {"early_stopping": tables["early_stopping"]} if "early_stopping" in tables else {}
        network = {key: value for key, value in tables.items() if key not in ("early_stopping", "also", "adapt")}
        network["data"] = input_keys(tables["data"])
        model._start(Setup(network, places, seed, executor.device_of(device)), Classes())
        model._usual, model._standing = usual, Standing("compiled")
        return model

    if not TYPE_CHECKING:  # a type checker knows what there is

        def __getattr__(self, name: str) -> NoReturn:
            raise no_attribute(type(self), name)

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse a name that a model does not have, such as one that is misspelt."""
            refuse_unknown("Model", self, name)
            super().__setattr__(name, value)

        def __call__(self, *_: object, **__: object) -> NoReturn:
            """Say what takes pictures, as a call of Keras's models does."""
            raise TlkitError(
                "Model: is not called.", "model.predict(x) takes pictures, and model.network(x) tensors that are normalised already",
                'a head is named where the model is made: Model(.., head="mlp")',
            )  # fmt: skip

    @property
    def network(self) -> Network:
        """The torch module itself."""
        if self._network is None:
            of_run = self._setup.names_of_run()
            raise TlkitError(
                "Model: has no network yet, since the number of classes is not known.",
                f"Model(.., classes={len(of_run) or 10}), or fit",
                f'tlkit.load("{self._setup.tables["backbone"]["weights"].removeprefix("run:")}") is the whole network of that run'
                if of_run
                else "",
            )
        return self._network

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in output order; "0", "1", ... where nothing named them."""
        return self._classes.shown

    @property
    def classes(self) -> int | None:
        """Number of classes; None until the first `fit` says it."""
        return self._classes.count

    @property
    def stages(self) -> Stages:
        """The stages by name, and the head: `model.stages["layer4"].trainable = False` freezes one.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu")
            >>> model.stages["layer1"].trainable = False
            >>> [name for name, stage in model.stages.items() if stage.trainable]
            ['stem', 'layer2', 'layer3', 'head']
        """
        names = [*self._setup.untrained(where="Model").backbone.stages, HEAD]
        return Stages(names, self._setup.tables["freeze"], lambda name, frozen: self._freeze((name,), frozen))

    def freeze(self, *keys: str, epochs: int | None = None, gradual: int | None = None) -> Model:
        """Freeze parts: "backbone", a stage, "head", or a module path. Compile again before the next fit.

        Args:
            keys: As in the recipe's [freeze].
            epochs: Only for so many first epochs.
            gradual: Of "backbone": one more stage trains every so many epochs, from the last down.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu")
            >>> model.freeze("backbone").unfreeze("layer3").stages["layer3"].trainable
            True
        """
        if epochs is not None and gradual is not None:
            raise TlkitError("Model.freeze: epochs and gradual are both given.", "one of them")
        if gradual is not None and keys != ("backbone",):
            raise TlkitError(
                f"Model.freeze: gradual is of the backbone alone, not of {', '.join(keys) or 'nothing'}.",
                'model.freeze("backbone", gradual=1)',
            )
        lengths = {key: value for key, value in (("epochs", epochs), ("gradual", gradual)) if value is not None}
        return self._freeze(keys, lengths or True)

    def unfreeze(self, *keys: str) -> Model:
        """Let parts train that a wider key froze. Compile again before the next fit; `freeze` has an example."""
        self._setup.check_keys(keys, where="Model.unfreeze")
        for key in keys:
            if key == "backbone":  # what is narrower is frozen no longer either
                for narrower in [each for each in self._setup.tables["freeze"] if each != HEAD]:
                    del self._setup.tables["freeze"][narrower]
        return self._freeze(keys, False)

    @property
    def trainable(self) -> bool:
        """Whether any stage, or the head, trains. Set it for all of them; compile again before the next fit.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu")
            >>> model.trainable = False
            >>> model.stages["head"].trainable = True
            >>> model.trainable
            True
        """
        return any(stage.trainable for stage in self.stages.values())

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for stage in self.stages.values():
            stage.trainable = value

    def _freeze(self, keys: Sequence[str], value: bool | Mapping[str, int]) -> Model:
        self._refuse_while_training("Model.freeze", 'model.freeze("backbone", gradual=1), or epochs=3, before compile')
        self._setup.check_keys(keys, where="Model.freeze")
        self._setup.tables["freeze"].update(dict.fromkeys(keys, value))
        self._standing.state = "changed" if self._standing.state != "new" else "new"
        return self

    @named("Model.compile")
    def compile(
        self, optimizer: str | Mapping[str, Any] = "adamw", *, lr: float | Auto | None = None, lr_groups: Rates | None = None,
        schedule: str | Mapping[str, Any] = "one_cycle", loss: Mapping[str, Any] | None = None, precision: str = "auto",
    ) -> None:  # fmt: skip
        """Say how what is not frozen learns. Compiling again keeps the weights, and the optimizer begins anew.

        Args:
            optimizer: A name, or the recipe's table [optimizer].
            lr: Peak learning rate of everything that trains; "auto" lets a range test choose it when `fit` begins.
            lr_groups: Peak learning rates of parts instead: the recipe's map, key -> rate or table.
            schedule: A name, or the recipe's table [schedule] without epochs.
            loss: The recipe's table [loss].
            precision: "auto", "float32" or "bfloat16"; on a GPU "tf32" and "float16" too.

        Raises:
            TlkitError: a key owns no parameter, a part that trains has no rate, or the schedule names its epochs.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu")
            >>> model.compile(optimizer="adam", lr=1e-3)
            >>> model.compile(optimizer={"name": "sgd", "nesterov": True}, lr_groups={"backbone": 1e-3, "head": 1e-1})
        """
        self._refuse_while_training("Model.compile", "schedule=.. changes rates in training")
        before = dict(self._setup.tables)
        self._setup.tables |= compiling.tables(
            self._setup, optimizer, schedule, lr=lr, lr_groups=lr_groups, loss=loss, precision=precision
        )
        try:
            self._setup.plan(self.classes)
        except TlkitError:
            self._setup.tables = before
            raise
        self._standing.state, self._standing.optimizer = "compiled", {}

    @named("Model.fit")
    @in_turn
    def fit(
        self, x: object = None, y: object = None, *, epochs: int | None = None, batch_size: int | str | None = None,
        validation_data: object = None, validation_split: float | None = None, callbacks: object = (),
        verbose: int | str = "auto", class_weight: str | Mapping[Any, float] | None = None,
        augment: Sequence[str | Mapping[str, Any]] | None = None, augment_views: int | None = None,
        split: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        on_corrupt: str | None = None, on_overlap: str | None = None, early_stopping: int | None = None,
    ) -> History:  # fmt: skip
        """Train, and end with the best epoch's weights by validation, not, as Keras does, with the last epoch's.

        Another call goes on from these weights with a new schedule. It keeps the optimizer's state, unless the model was compiled
        again, and order and augmentation go on from the epochs before. Where x has no validation images of its own and neither
        `validation_data` nor `validation_split` is given, a tenth of the training images is held out, as in a recipe. A fifth of a
        folder without test images is never trained on: these are its test images, unless `validation_data` is given, or
        `options={"test_fraction": 0.0}`. A line says how many images each part has.

        Args:
            x: A folder, a data set's name, arrays (N, H, W, 3), tensors (N, 3, H, W), a list of paths or PIL images, or a torch
                data set of (image, label), which is read once. Pixels are uint8, or floats from 0 to 1.
            y: Labels of arrays, tensors and lists: numbers, names, or one column per class.
            epochs: Of the schedule, which begins anew at every call; 10 where not given.
            batch_size: Images a step, or "auto"; 32 where not given.
            validation_data: (x, y), a folder whose images are all held out, or a torch data set.
            validation_split: Part of the training images that is held out, from every class and at random.
            callbacks: Objects with some of the method names of Keras's callbacks; see `tlkit.model.callbacks`.
            verbose: "auto" or 1 for a bar and a line an epoch, 2 for the lines, 0 for nothing.
            class_weight: Class -> weight in the loss, or "balanced".
            augment: The recipe's list data.augment: names, or tables.
            augment_views: Fixed augmented views of each image.
            split: The recipe's table [data.split].
            options: The data set's options, the recipe's table [data.options].
            on_corrupt: "error", or "skip" to leave out files that cannot be decoded.
            on_overlap: "warn", "error", or "drop" to train without images that are evaluated.
            early_stopping: Epochs without a better one after which it stops.

        Raises:
            TlkitError: not compiled, or images that cannot be used.
            RunFailed: the loss is no longer a number, or a callback raised.

        Examples:
            >>> import numpy as np, tlkit
            >>> model = tlkit.Model("cifar_resnet20", image_size=32, device="cpu")
            >>> model.compile(optimizer="sgd", lr=0.01)
            >>> x = np.random.default_rng(0).random((24, 32, 32, 3))
            >>> history = model.fit(x, ["a", "b", "c"] * 8, epochs=2, batch_size=8, validation_split=0.25, verbose=0)
            >>> len(history.history["val_accuracy"]), model.class_names
            (2, ('a', 'b', 'c'))
        """
        self._refuse_while_training("Model.fit", "once more when it has returned")
        self._check_compiled()
        listed = checked(callbacks)
        data = {
            "batch_size": batch_size, "augment": augment, "augment_views": augment_views, "options": options,
            "split": fits.split_table(split, validation_split, validation_data), "on_corrupt": on_corrupt,
            "on_overlap": on_overlap,
        }  # fmt: skip
        request = fits.Request(x, y, data, epochs, early_stopping, validation_data, class_weight)
        found = fits.found(request, self._setup, usual=self._usual, known=self._labels(), epochs_done=self._standing.epochs)
        images = self._adopt(found.images)
        training = Training(found.job, images, self.network, self._setup.device, listed, found.held_out_of)
        unnamed = found.refusal or (fits.REORDERED if images.classes != found.images.classes else "")
        refusal = unnamed or (fits.CONTINUED if self._standing.optimizer else "")
        self._last = fits.Fitted(found.job, self._on_disk(), refusal)
        self.stop_training, self._turn.training = False, True
        try:
            with progress.observer(verbose) as shown, machine.kept_blocks, torch_settings.applied(self._setup.device):
                for line in found.notes:
                    shown.note(line)
                training.run(self, shown=shown, stop=lambda: self.stop_training, optimizer=self._standing.optimizer)
        finally:
            self._turn.training = False
            self.history = History(training.epochs, stopped=training.stopped)
            self._seen = self._seen.with_fit(found.job)
            if training.epochs:
                self._setup.scaling = training.scaling
                self._standing.optimizer, self._weights = training.optimizer, None
                self._standing.epochs += len(training.epochs)
                self._last = replace(self._last, split={} if unnamed else training.split)
            elif training.restored:
                self._written = own_network.written(self.network)
        return self.history

    @named("Model.evaluate")
    @in_turn
    def evaluate(
        self, x: object, y: object = None, *, options: Mapping[str, Any] | None = None, views: int = 1,
        batch_size: int = 32, verbose: int | str = "auto", return_dict: Literal[True] = True,
    ) -> dict[str, float]:  # fmt: skip
        """Return loss, accuracy and the other metrics of the head's task.

        Args:
            x: As `fit` takes it. Of a folder and a data set the test images are evaluated, and all images where it has no test images
                of its own, as by `tlkit evaluate`. Of one that the model was trained on, the test images that training left out; where it
                left out none, all, and a line says that the model was trained on some. A line says how many images there are.
            y: Labels of arrays, tensors and lists.
            options: The data set's options.
            views: As `predict` has them.
            batch_size: Images at a time.
            verbose: "auto" or 1 for a bar while it runs, 0 or 2 for none.
            return_dict: Always true: the result names each metric.

        Raises:
            TlkitError: it has no test images, or they cannot be used.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=4, image_size=32, device="cpu")
            >>> scores = model.evaluate("synthetic", options={"classes": 4, "train": 8, "test": 8})
            >>> sorted(scores)
            ['accuracy', 'auroc', 'balanced_accuracy', 'f1', 'loss']
        """
        check_count("Model.evaluate: batch_size", batch_size, least=1)
        check_views(views, where="Model.evaluate: views")
        if return_dict is not True:
            raise TlkitError(
                f"Model.evaluate: return_dict is {return_dict!r}.",
                "it always returns a dict: model.evaluate(..)['loss'], ['accuracy'] and the other metrics of the head's task",
            )
        network = self._fitted("Model.evaluate")
        asked = evaluation.asked(
            x, y, self._setup, known=self._labels(), classes=self._classes, options=options, seen=self._seen
        )
        if asked.said and verbose != 0:
            progress.Notes().note(asked.said)
        memory = failures.memory_for("Model.evaluate", batch_size, self._setup.device)
        with progress.bar(verbose, where="Model.evaluate") as told, torch_settings.applied(self._setup.device), memory:
            return evaluation.scores(
                network,
                asked,
                classes=len(self.class_names),
                views=views,
                batch_size=batch_size,
                device=self._setup.device,
                progress=told,
            )

    @named("Model.predict")
    @in_turn
    def predict(self, x: object, *, views: int = 1, batch_size: int = 32, verbose: int | str = "auto") -> Predictions:
        """Return class probabilities (N, classes), an array with `labels` and `top(k)`.

        Args:
            x: A path, a folder, a list of paths or PIL images, arrays (H, W, 3) or (N, H, W, 3), tensors (3, H, W) or
                (N, 3, H, W); uint8, or floats from 0 to 1. Bands in the place of 3 are of the type and in the units that fit had.
            views: Of each picture, whose probabilities are averaged: 2 are it and its mirror image, 5 it and its four corners,
                10 these with their mirror images.
            batch_size: Images at a time.
            verbose: "auto" or 1 for a bar while it runs, 0 or 2 for none.

        Examples:
            >>> import numpy as np, tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=["cat", "dog"], image_size=32, device="cpu")
            >>> model.predict(np.zeros((48, 40, 3))).shape
            (1, 2)
        """
        check_count("Model.predict: batch_size", batch_size, least=1)
        check_views(views, where="Model.predict: views")
        self._fitted("Model.predict")
        found = pictures.read(x, where="Model.predict", bands=self._setup.bands)
        memory = failures.memory_for("Model.predict", min(batch_size, len(found)), self._setup.device)
        with progress.bar(verbose, where="Model.predict") as told, torch_settings.applied(self._setup.device), memory:
            rows = self._predictor(found, batch_size).predict(found, views=views, progress=told)
        return Predictions(rows, self.class_names, several=self._setup.several())

    @named("Model.embed")
    @in_turn
    def embed(self, x: object, *, at: str | None = None, pooled: bool = True) -> NDArray[np.float32]:
        """Return the output of a stage, the last where none is named: pooled (N, C), else the map (N, C, h, w).

        Examples:
            >>> import numpy as np, tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu")
            >>> model.embed(np.zeros((3, 32, 32, 3), np.uint8), at="layer2").shape
            (3, 32)
        """
        found = pictures.read(x, where="Model.embed", bands=self._setup.bands)
        memory = failures.memory_for("Model.embed", min(32, len(found)), self._setup.device)
        with torch_settings.applied(self._setup.device), memory:
            return self._predictor(found).embed(found, at=at, pooled=pooled)

    @named("Model.summary")
    def summary(self) -> None:
        """Print stages, parameters, what trains and how fast.

        Examples:
            >>> import tlkit
            >>> tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu").summary()  # doctest: +ELLIPSIS
            cifar_resnet20 (random weights), 2 classes, 32 px, not compiled...
        """
        Console().print(self._summary())

    @named("Model.save")
    @in_turn
    def save(self, folder: str | Path) -> None:
        """Write the network, what its input and output mean, its recipe and the optimizer's state; `tlkit.load` reads it. No pickle.

        Raises:
            TlkitError: the folder holds something else, or cannot be written.

        Examples:
            >>> import tlkit
            >>> model = tlkit.Model("cifar_resnet20", classes=["cat", "dog"], image_size=32, device="cpu")
            >>> model.save("saved")
            >>> tlkit.load("saved", device="cpu").class_names
            ('cat', 'dog')
        """
        saving.save(
            as_path(folder, "folder"), self._setup, self.network, self._standing,
            classes=self.class_names, last=self._last, epochs=self.history or (), seen=self._seen,
        )  # fmt: skip
        self._weights, self._written = f"run:{Path(folder).resolve()}", own_network.written(self.network)

    def to_recipe(self, file: str | Path) -> None:
        """Write the last fit as a recipe: `tlkit apply FILE` trains to the same bits on the same data.

        Raises:
            TlkitError: nothing was fitted; the images were in memory; the fit began from weights that were not saved; or it
                went on with the optimizer's state. None of these can be written in a recipe. `from_recipe` has an example.
        """
        saving.write_recipe(as_path(file, "file"), self._last, seed=self._setup.seed)

    @in_turn
    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor under the names of the library that the backbone comes from, which loads it with strict=True.

        As torch's, the tensors are the network's own and change with it; `copy.deepcopy` keeps them as they are now.

        Examples:
            >>> import tlkit
            >>> len(tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu").state_dict()) > 100
            True
        """
        resolved = self._setup.untrained(where="Model")
        return weight_names.export(self.network, resolved.backbone, linear=resolved.head.fits(resolved.backbone))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TlkitError("Model: cannot be pickled.", "model.save(FOLDER) writes it, and tlkit.load(FOLDER) reads it")

    def __copy__(self) -> Model:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if made._network is not None:
            made._weights, made._written = self._on_disk(), own_network.written(made._network)
        if self._turn.training:
            made.network.requires_grad_(True)  # as fit leaves it; what is frozen in this epoch is no wish of the program's
        return made

    def __repr__(self) -> str:
        table = self._setup.tables["backbone"]
        return f"<tlkit.Model {table['name']} ({table['weights']}), {self.classes or 'unknown'} classes>"

    def _repr_html_(self) -> str:
        return html(self._summary())

    def _summary(self) -> RenderableType:
        compiled = self._standing.state == "compiled" or self._setup.untrained(where="Model").head.solve != ""
        return plan_table.network(self._setup.plan(self.classes, compiled=compiled), classes=self.classes, compiled=compiled)

    def _refuse_while_training(self, where: str, hint: str) -> None:
        if self._turn.training:
            raise TlkitError(f"{where}: fit trains the model now.", hint)

    def _check_compiled(self) -> None:
        if self._standing.state == "changed":
            raise TlkitError(
                "Model.fit: what is frozen changed after the model was compiled.",
                "model.compile(optimizer=.., lr=..) again, then fit",
            )
        if self._standing.state == "new" and not self._setup.untrained(where="Model").head.solve:
            raise TlkitError("Model.fit: the model is not compiled.", 'model.compile(optimizer="adamw", lr=1e-3)')

    def _fitted(self, where: str) -> Network:
        """Return the network, of which a head that is solved must have been."""
        head = self._setup.untrained(where=where).head
        if head.solve and self._network is not None and not isinstance(self._network.head, FittedHead):
            kind = self._setup.tables["head"]["kind"]
            raise TlkitError(f"{where}: the {kind} head is not fitted yet.", "model.fit(x, y) first, or tlkit.load(RUN)")
        return self.network

    def _labels(self) -> Labels:
        """What is known of the classes."""
        return Labels(self._classes.names, self._classes.count, self._setup.several(), self._classes.assumed)

    def _build(self, classes: Classes) -> None:
        """Build the network with the weights that it starts from."""
        self._network, self._seen = self._setup.network(classes), Seen.of_run(self._setup.run())
        self._written = own_network.written(self._network)

    def _on_disk(self) -> str | None:
        """Return what a recipe calls the network's weights; None where they are trained or changed since, and not saved."""
        return self._weights if own_network.written(self.network) == self._written else None

    def _adopt(self, images: Images) -> Images:
        """Take classes from the first images, or check that these have the model's; return them in the model's order."""
        before = self._classes
        classes = before.of_first(images, self._setup.names_of_run()) if before.count is None else before.trained_on(images)
        if before.count is None or (before.assumed and before.names != classes.names):  # the run's head is of other classes
            self._build(classes)
        self._classes = classes
        return classes.in_order(images)

    def _predictor(self, found: Sequence[pictures.Picture] | pictures.Pixels, batch_size: int = 32) -> Predictor:
        resolved = self._setup.untrained(where="Model")
        if resolved.convention.channels == "bands":
            resolved = replace(resolved, convention=pictures.scaled(resolved.convention, resolved.trained, found))
        geometry, stride = evaluation.geometry_of(self.network, resolved)
        geometry = replace(geometry, raised_by="")  # a model has no such argument
        tile = resolved.arm.data.tile_size if self.network.task.targets.masks else None
        device = self._setup.device
        return Predictor(self.network, self.class_names, resolved.convention, geometry, batch_size, device, stride or 1, tile)


@named("load")
def load(folder: str | Path, *, arm: str | None = None, device: str = "auto") -> Model:
    """Return a saved model, or the network of a run, ready to predict, to evaluate and to be trained on.

    `fit` goes on as it would have before `save`: with the optimizer's state, and from the epochs that were trained. A run keeps no
    optimizer state of its best epoch; there the optimizer begins anew.

    Args:
        folder: That `Model.save` wrote, a run's folder, or a recipe's folder of runs: then its best run by validation.
        arm: Choose only among the runs of this arm.
        device: "auto", "cpu", "cuda".

    Raises:
        RunFolderError: the folder is none of these.
        TlkitError: a plugin that it needs is not installed.

    Examples:
        >>> import tlkit
        >>> tlkit.Model("cifar_resnet20", classes=2, image_size=32, device="cpu").save("saved")
        >>> tlkit.load("saved", device="cpu")
        <tlkit.Model cifar_resnet20 (run:saved), 2 classes>
    """
    where = executor.device_of(device)
    tables, seed, predictor, standing, seen = loading.run(as_path(folder, "folder"), arm, device=where)
    model = Model.__new__(Model)
    setup = Setup(tables, Places(recipe=Path.cwd(), settings=False), seed, where)
    model._start(setup, Classes(len(predictor.classes), predictor.classes), predictor.network)
    model._standing, model._seen = standing, seen
    return model
