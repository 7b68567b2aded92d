"""Callbacks: Keras's method names, on any object."""

import pytest
import torch
from toy_model import compiled, labels, pixels

from tlkit.errors import RunFailed, TlkitError

X, Y = pixels(), labels()
FIT = {"epochs": 2, "batch_size": 8, "validation_split": 0.25, "verbose": 0}


class Told:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def on_train_begin(self, logs=None) -> None:
        self.calls.append(("train_begin",))

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self.calls.append(("epoch_begin", epoch))

    def on_batch_end(self, batch, logs=None) -> None:
        self.calls.append(("batch_end", batch, sorted(logs)))

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.calls.append(("epoch_end", epoch, logs["val_accuracy"]))

    def on_train_end(self, logs=None) -> None:
        self.calls.append(("train_end",))


def test_methods_are_called_in_order_with_the_figures_of_the_history() -> None:
    told, model = Told(), compiled()
    history = model.fit(X, Y, callbacks=[told], **FIT)
    accuracy = history.history["val_accuracy"]
    steps = [("batch_end", step, ["loss", "step"]) for step in range(2)]
    assert told.calls == [
        ("train_begin",),
        ("epoch_begin", 0), *steps, ("epoch_end", 0, accuracy[0]),
        ("epoch_begin", 1), *steps, ("epoch_end", 1, accuracy[1]),
        ("train_end",),
    ]  # fmt: skip
    assert told.model is model


def test_loss_of_the_last_batch_is_the_epochs() -> None:
    class Losses:
        def __init__(self) -> None:
            self.losses: list[float] = []

        def on_train_batch_end(self, batch, logs) -> None:
            self.losses.append(logs["loss"])

    told = Losses()
    history = compiled().fit(X, Y, callbacks=told, **FIT)
    assert told.losses[1] == pytest.approx(history[0].train["loss"])
    assert told.losses[-1] == pytest.approx(history[1].train["loss"])


def test_setting_stop_training_ends_after_the_epoch() -> None:
    class Stops:
        def on_epoch_end(self, epoch, logs) -> None:
            self.model.stop_training = epoch == 1

    model = compiled()
    history = model.fit(X, Y, callbacks=[Stops()], **{**FIT, "epochs": 9})
    assert len(history) == 2
    assert "stop_training" in history.stopped
    assert len(model.fit(X, Y, **FIT)) == 2, "the next fit is not stopped"


def test_callback_that_raises_is_named_and_what_was_trained_is_kept() -> None:
    class Breaks:
        def on_batch_end(self, batch, logs) -> None:
            if self.model.history is None and len(self.seen) == 2:
                raise ValueError("no disk")

        def on_epoch_end(self, epoch, logs) -> None:
            self.seen.append(epoch)

        def __init__(self) -> None:
            self.seen: list[int] = []

    model, whole = compiled(), compiled()
    with pytest.raises(RunFailed, match=r"Breaks\.on_batch_end raised ValueError: no disk"):
        model.fit(X, Y, callbacks=[Breaks()], **{**FIT, "epochs": 5})
    assert len(model.history) == 2
    whole.fit(X, Y, **FIT)  # a constant rate, so the first two epochs of five are the same
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_weights_that_are_no_numbers_when_training_ends_are_those_from_before() -> None:
    class Spoils:
        def on_train_batch_end(self, batch, logs) -> None:
            with torch.no_grad():
                next(self.model.network.parameters()).fill_(self.value)
            raise self.error

    for value, error in ((torch.nan, ValueError("no disk")), (torch.nan, KeyboardInterrupt()), (2.0, ValueError("no disk"))):
        model, spoils = compiled(), Spoils()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        spoils.value, spoils.error = value, error
        with pytest.raises((RunFailed, KeyboardInterrupt)) as caught:
            model.fit(X, Y, callbacks=spoils, **FIT)
        same = all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert same is (value != 2.0)
        if caught.type is not KeyboardInterrupt:
            had = "that it had before fit" if same else "of the last step"
            assert str(caught.value).endswith(f"the epochs until then\n  the model's weights are those {had}")


def test_keras_base_class_is_understood() -> None:
    class Keras:  # what keras.callbacks.Callback does
        model = property(lambda self: self._model)

        def set_params(self, params) -> None:
            self.params = params

        def set_model(self, model) -> None:
            self._model = model

        def on_train_batch_end(self, batch, logs=None) -> None:
            self.on_batch_end(batch, logs)

        def on_batch_end(self, batch, logs=None) -> None:
            self.batches += 1

        batches = 0

    told, model = Keras(), compiled()
    model.fit(X, Y, callbacks=[told], **FIT)
    assert told.batches == 4
    assert told.model is model
    assert told.params["epochs"] == 2


@pytest.mark.parametrize("given", [[3], [Told], "x"])
def test_what_is_no_callback_is_a_message(given) -> None:
    with pytest.raises(TlkitError, match="is no callback") as error:
        compiled().fit(X, Y, callbacks=given)
    assert "on_epoch_end" in str(error.value)
