# The classifier's image with a second version of a model, which is the first under another number: for canaries.
ARG CLASSIFIER=localhost/ferry/classifier:0.1.0
FROM ${CLASSIFIER}
USER root
RUN cp -r /models/arcface/1 /models/arcface/2 \
    && sed -i 's/"version": "1"/"version": "2"/' /models/arcface/2/manifest.json
USER 1000:1000
