# samrot on a CPU: docker build -t samrot . && docker run --rm -v "$PWD:/data" samrot segment /data/photos --everything --out /data/masks
# On a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126, and docker run --gpus all.
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /samrot
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision
COPY . .
RUN pip install --no-cache-dir '.[fast,heif,web]'
WORKDIR /data
ENTRYPOINT ["samrot"]
CMD ["--help"]
