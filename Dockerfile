# docker build -t cormorant .
# docker run -p 8080:8080 --user "$(id -u)" -v "$PWD/collections:/collections" -v "$PWD/keys:/keys:ro" cormorant
# The keys are in keys/keys.json; a folder is mounted, so that a new file in it is noticed.
FROM python:3.13-slim
COPY . /source
# torch from PyPI brings gigabytes of CUDA; for a machine without a GPU add to the pip install
# --extra-index-url and PyTorch's index of CPU builds, which its installation page names.
RUN pip install --no-cache-dir -c /source/constraints.txt /source && rm -r /source \
    && useradd --system --create-home cormorant && install -d -o cormorant /collections
USER cormorant
VOLUME /collections
EXPOSE 8080
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez')"]
ENTRYPOINT ["cormorant", "serve", "--host", "0.0.0.0"]
CMD ["--root", "/collections", "--keys", "/keys/keys.json"]
