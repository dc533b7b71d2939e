# The studio in a container. On a CPU, and on an NVIDIA card:
#
#   docker build -t pops .
#   docker build -t pops:cuda --build-arg TORCH=https://download.pytorch.org/whl/cu128 .
#
#   docker run -p 7860:7860 pops
#   docker run -p 7860:7860 --gpus all -v pops:/data pops:cuda pops studio --host 0.0.0.0 \
#       --browser false --stack kandinsky-2.2
FROM python:3.12-slim

ARG TORCH=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE HF_HOME=/data/huggingface PIP_NO_CACHE_DIR=1

WORKDIR /pops
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY pops pops
COPY assets assets
# What torch itself needs is in its wheel, CUDA's libraries too.
RUN pip install --extra-index-url "$TORCH" -c constraints.txt '.[mcp]' \
    && useradd --create-home --uid 1000 pops \
    && install -d -o pops -g pops /data

USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/favicon.ico', timeout=4)"]
CMD ["pops", "studio", "--host", "0.0.0.0", "--browser", "false"]
