module github.com/bonnx/bonnx

go 1.26
