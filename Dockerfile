# covid-debug without a network, as a user without rights, on a read-only root file system.
# docs/how-to/install.md says how to build and run it.
ARG BASE=python:3.11-slim-bookworm
FROM $BASE

# opencv-python links to these, though nothing here opens a window.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

# uv and every package come from the lock, their hashes checked; no tools of development among them.
WORKDIR /src
COPY requirements.lock pyproject.toml ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > /tmp/uv.txt \
 && python -m venv /opt/uv && /opt/uv/bin/pip install -q --no-cache-dir --no-deps --require-hashes -r /tmp/uv.txt \
 && python -m venv --without-pip /opt/covid-debug \
 && /opt/uv/bin/uv pip install -q --no-cache --compile-bytecode --python /opt/covid-debug \
    -c requirements.lock -r pyproject.toml --extra all
COPY . ./
RUN /opt/uv/bin/uv pip install -q --no-cache --compile-bytecode --python /opt/covid-debug \
    --no-deps -b requirements.lock . && rm -rf /tmp/*

# What is written: results in /work, what libraries keep for themselves in /tmp.
RUN install -d -o 1000 -g 1000 /work
VOLUME /work
WORKDIR /work
ENV HOME=/tmp PATH=/opt/covid-debug/bin:$PATH
USER 1000:1000
ENTRYPOINT ["covid-debug"]
CMD ["--help"]
