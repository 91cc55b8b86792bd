"""The domain of Windthrow: tasks, layouts, models, attacks, evaluation, jobs. Knows no HTTP and no Celery."""

__version__ = "0.1.0"
