"""The progress bar of `fastloss score`, on standard error."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn
from rich.table import Column
from rich.text import Text

from fastloss._scanner import Job


class Bar:
    """Shows rows, rows per second and bytes per second while a job runs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        console = Console(stderr=True)
        self.progress = _JobProgress(
            job,
            BarColumn(bar_width=None),
            # Of a stream nobody knows how long it is.
            *([] if job.total_rows is None else [TaskProgressColumn()]),
            _Rate(job),
            console=console,
            expand=True,
            transient=True,
            refresh_per_second=5,
        )

    def __enter__(self) -> Bar:
        self.progress.add_task("", total=self.job.total_rows)
        self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()


class _JobProgress(Progress):
    def __init__(self, job: Job, *columns: ProgressColumn, **options: Any) -> None:
        self.job = job
        super().__init__(*columns, **options)

    def get_renderables(self) -> Any:
        """Ask the job before each refresh."""
        for task in self.tasks:
            task.completed = self.job.progress[0]
        return super().get_renderables()


class _Rate(ProgressColumn):
    max_refresh = 0.2

    def __init__(self, job: Job) -> None:
        super().__init__(Column(no_wrap=True))
        self.job, self.start = job, time.monotonic()

    def render(self, task: Task) -> Text:  # noqa: ARG002
        rows, size = self.job.progress
        seconds = max(time.monotonic() - self.start, 1e-3)
        return Text(
            f"{rows:,} rows  {rows / seconds / 1e6:.1f} M rows/s  {size / seconds / 1e9:.2f} GB/s"
        )
