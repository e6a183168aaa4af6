# docker build -t cormorant .
# docker run -p 8080:8080 --user "$(id -u)" -v "$PWD/collections:/collections" -v "$PWD/keys:/keys:ro" cormorant
# The keys are in keys/keys.json; a folder is mounted, so that a new file in it is noticed.
FROM python:3.13-slim
COPY . /source
# The CPU build of torch is pinned in constraints.txt; a looser pin pulls gigabytes of CUDA.
RUN pip install --no-cache-dir -c /source/constraints.txt /source && rm -r /source \
    && useradd --system --create-home cormorant && install -d -o cormorant /collections
USER cormorant
VOLUME /collections
EXPOSE 8080
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez')"]
ENTRYPOINT ["cormorant", "serve", "--host", "0.0.0.0"]
CMD ["--root", "/collections", "--keys", "/keys/keys.json"]
