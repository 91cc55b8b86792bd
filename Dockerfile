# Two images from one file: `api` without torch, `worker` with it. PyPI's torch for Linux is the CUDA build.
FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/windthrow
RUN useradd --system --create-home --uid 10001 windthrow \
 && install --directory --owner windthrow /var/lib/windthrow
ENV WINDTHROW_DATA_DIR=/var/lib/windthrow
COPY constraints.txt pyproject.toml README.md ./
COPY api api
COPY core core
COPY migrations migrations
COPY worker worker

FROM base AS api
RUN pip install --constraint constraints.txt '.[s3]'
ENV MALLOC_MMAP_THRESHOLD_=8388608 MALLOC_TRIM_THRESHOLD_=33554432
USER windthrow
EXPOSE 8000
CMD ["uvicorn", "api.app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
RUN pip install --constraint constraints.txt '.[worker,s3]'
USER windthrow
CMD ["windthrow-server", "worker"]
