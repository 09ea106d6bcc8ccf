module github.com/bonnx/bonnx/internal/kernel/_generate

go 1.26
