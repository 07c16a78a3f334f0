FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
ENV UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/stream-router
# First what changes seldom.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-install-project --extra demo
COPY . .
RUN uv sync --frozen --no-editable --extra demo

FROM python:3.11-slim
COPY --from=build /opt/stream-router /opt/stream-router
ENV PATH=/opt/stream-router/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 stream-router && install -d -o stream-router /var/lib/stream-router
USER stream-router
WORKDIR /home/stream-router
EXPOSE 9100
ENTRYPOINT ["stream-router"]
CMD ["--help"]
