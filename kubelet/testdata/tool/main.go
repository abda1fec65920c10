// Tool is the only program of the tests' container image: each subcommand does one thing that a pod might.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"wait"}
	}
	switch args[0] {
	case "wait": // until SIGTERM; says so
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("waiting")
		<-c
		fmt.Println("bye")
	case "exit": // CODE [MESSAGE]: MESSAGE goes to the termination log
		if len(args) > 2 {
			_ = os.WriteFile("/dev/termination-log", []byte(args[2]), 0o666)
		}
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "serve": // PORT: 200 while the file /tmp/ok or /data/ok exists; runs until SIGTERM
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if _, err := os.Stat("/data/ok"); err != nil {
				http.Error(w, "no", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "yes")
		})
		fmt.Println(http.ListenAndServe(":"+args[1], nil))
	case "echo": // PORT: sends each connection back what it sends
		l, err := net.Listen("tcp", ":"+args[1])
		check(err)
		for {
			c, err := l.Accept()
			check(err)
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "cat":
		for _, f := range args[1:] {
			data, err := os.ReadFile(f)
			check(err)
			os.Stdout.Write(data)
		}
	case "write": // FILE TEXT
		check(os.WriteFile(args[1], []byte(args[2]), 0o644))
	case "say": // LINE...: each a line
		for _, s := range args[1:] {
			fmt.Println(s)
		}
	case "count": // N PERIOD: numbers
		n, _ := strconv.Atoi(args[1])
		d, err := time.ParseDuration(args[2])
		check(err)
		for i := range n {
			fmt.Println(i)
			time.Sleep(d)
		}
	case "upper": // stdin to stdout in capitals, "err" lines to stderr; exits with 7 at the line "seven"
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			switch s.Text() {
			case "seven":
				os.Exit(7)
			case "err":
				fmt.Fprintln(os.Stderr, "ERR")
			default:
				fmt.Println(strings.ToUpper(s.Text()))
			}
		}
	case "size": // waits until the terminal has a size and says it
		for {
			if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
				fmt.Printf("%dx%d\n", ws.Col, ws.Row)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "id":
		status, err := os.ReadFile("/proc/self/status")
		check(err)
		os.Stdout.Write(status)
	default:
		fmt.Fprintln(os.Stderr, "unknown", args)
		os.Exit(2)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
