#!/bin/sh
# Writes onnx.pb.go from onnx.proto. Run by go generate.
set -e
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
stage=$bin/in/bonnx/onnx
mkdir -p "$stage"
cp onnx.proto "$stage/"
protoc --plugin="$bin/protoc-gen-go" -I "$bin/in" --go_out=. --go_opt=module=github.com/bonnx/bonnx/onnx/internal/onnxpb bonnx/onnx/onnx.proto
