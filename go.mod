module spanctl

go 1.26
