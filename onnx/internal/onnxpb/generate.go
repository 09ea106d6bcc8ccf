// Package onnxpb holds the generated protobuf bindings of onnx.proto. Package
// onnx alone imports it.
package onnxpb

// Needs protoc 3.21.12; the plugin comes from the module proxy.
//go:generate sh generate.sh
