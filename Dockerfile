# Easel in a container. docs/operators.md says what was tried of it, and how to run it.
#   docker build -t easel .                                                             CPU
#   docker build -t easel:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .        NVIDIA (not run so far)
#   podman build --format docker -t easel .                                             with the health check
ARG PYTHON=3.11

# Writes down what Easel needs. The layer with PyTorch depends on this list alone: an update of Easel does not fetch it again.
FROM docker.io/library/python:${PYTHON}-slim AS needs
ARG EXTRAS=c2pa,mcp,otel
COPY pyproject.toml ./
RUN python -c "\
import os, tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [project['optional-dependencies'][name] for name in os.environ['EXTRAS'].split(',') if name]; \
print(*sum(extras, project['dependencies']), sep='\n')" > /needs.txt

FROM docker.io/library/python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/easel
COPY --from=needs /needs.txt ./
COPY constraints.txt ./
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt -r needs.txt
COPY pyproject.toml README.md LICENSE ./
COPY adapters adapters
COPY bot bot
COPY engine engine
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps . \
    && useradd --create-home --uid 1000 easel \
    && install -d -o easel -g easel -m 700 /data
USER easel
WORKDIR /data
# Inside a container the page must listen on all addresses. Only published ports reach it, and compose.yaml publishes it
# on 127.0.0.1 alone: that is why EASEL_WEB_UNSAFE_BIND is set. The page asks for a sign-in or for the token in the link
# that the log shows. To publish it to other machines, put a proxy with HTTPS in front, or set EASEL_WEB_TLS_CERT and _KEY.
ENV EASEL_DATA_DIR=/data EASEL_WEB_HOST=0.0.0.0 EASEL_WEB_UNSAFE_BIND=1 EASEL_WEB_PORT=7860 HF_HOME=/data/huggingface
VOLUME /data
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "\
import os, ssl, urllib.request; \
scheme = 'https' if os.environ.get('EASEL_WEB_TLS_CERT') else 'http'; \
own = ssl._create_unverified_context(); \
urllib.request.urlopen(scheme + '://127.0.0.1:' + os.environ['EASEL_WEB_PORT'] + '/healthz', timeout=4, context=own)"]
ENTRYPOINT ["easel"]
CMD ["serve"]
