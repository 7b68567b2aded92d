"""Loggers: metrics of a run for TensorBoard, for MLflow, and as a CSV file."""

from pydantic import Field

from tlkit.plugin import Logger, Options


class TensorBoardOptions(Options):
    """Where TensorBoard's files are written.

    Attributes:
        folder: Each run gets RECIPE/RUN in this folder; not given: `tensorboard` in the folder of the run.
    """

    folder: str | None = Field(default=None, min_length=1)


class MlflowOptions(Options):
    """Which MLflow server and experiment.

    Attributes:
        tracking_uri: Address of the server or database; not given: as MLflow's own environment variables say.
        experiment: Its name; not given: the name of the recipe.
    """

    tracking_uri: str | None = Field(default=None, min_length=1)
    experiment: str | None = Field(default=None, min_length=1)


csv = Logger(open="tlkit_loggers.csv_file:open_", summary="metrics.csv in the folder of the run: one row per epoch")
tensorboard = Logger(
    open="tlkit_loggers.tensorboard_files:open_",
    options=TensorBoardOptions,
    needs="tensorboard",
    install="tlkit[tensorboard]",
    summary="TensorBoard: metrics and learning rates per epoch, first kernels before and after, a map of images",
)
mlflow = Logger(
    open="tlkit_loggers.mlflow_runs:open_",
    options=MlflowOptions,
    needs="mlflow",
    install="tlkit[mlflow]",
    summary="MLflow: one MLflow run per run, with the recipe's keys as parameters and metrics per epoch",
)
