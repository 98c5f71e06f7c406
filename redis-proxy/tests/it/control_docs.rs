//! What the documents promise: the OpenAPI documents, and the commands in the README.
