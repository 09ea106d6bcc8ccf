module github.com/bonnx/bonnx/bench

go 1.26.0

require (
	github.com/bonnx/bonnx v0.0.0
	github.com/yalue/onnxruntime_go v1.27.0
	golang.org/x/sys v0.49.0
	gonum.org/v1/gonum v0.17.0
)

require (
	go.yaml.in/yaml/v3 v3.0.4 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/bonnx/bonnx => ../
