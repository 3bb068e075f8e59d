# Easel in a container. Unrun by its authors so far: tell us what breaks.
#   docker build -t easel .                          CPU
#   docker build -t easel:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/easel
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY adapters adapters
COPY bot bot
COPY engine engine
COPY migrations migrations
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt . \
    && useradd --create-home --uid 1000 easel \
    && install -d -o easel -g easel /data
USER easel
WORKDIR /data
# Inside a container the page must listen on all addresses. Only published ports reach it, and compose.yaml publishes it
# on 127.0.0.1 alone: that is why EASEL_WEB_UNSAFE_BIND is set. The page asks for a sign-in or for the token in the link
# that the log shows. To publish it to other machines, put a proxy with HTTPS in front, or set EASEL_WEB_TLS_CERT and _KEY.
ENV EASEL_DATA_DIR=/data EASEL_WEB_HOST=0.0.0.0 EASEL_WEB_UNSAFE_BIND=1 HF_HOME=/data/huggingface
VOLUME /data
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
ENTRYPOINT ["easel"]
CMD ["serve"]
