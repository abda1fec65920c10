// Command peer runs in the tests' pods: it answers who it is, fetches from where it is, and is as
// ready as it is told to be.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

var (
	mu      sync.Mutex
	unready bool
	refused []time.Time // when a probe was told that this is not ready
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) })
	http.HandleFunc("GET /from", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	http.HandleFunc("GET /fetch", fetch)
	http.HandleFunc("GET /lookup", func(w http.ResponseWriter, r *http.Request) {
		found, err := net.DefaultResolver.LookupHost(r.Context(), r.FormValue("name"))
		answer(w, found, err)
	})
	http.HandleFunc("GET /refused", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer(w, refused, nil)
	})
	http.HandleFunc("POST /unready", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		unready = true
	})
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if unready {
			refused = append(refused, time.Now())
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := http.Server{Addr: ":8080"}
	go func() { <-ctx.Done(); _ = server.Close() }() // tests want a quick end
	log.Printf("peer %s", name)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

// fetch gets a URL with a new connection.
func fetch(w http.ResponseWriter, r *http.Request) {
	web := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := web.Get(r.FormValue("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the caller sees that it is short
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_ = json.NewEncoder(w).Encode(v) // the caller sees that it is short
}
