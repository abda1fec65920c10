// Command hello is the program of a test image: it says what it sees and runs until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	note, _ := os.ReadFile("/etc/note")
	dir, _ := os.Getwd()
	println("hello", os.Getenv("WHO"), string(note), dir, os.Getuid())
	<-ends
	println("bye")
}
