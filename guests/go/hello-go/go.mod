module shoal.dev/guests/hello-go

go 1.24
