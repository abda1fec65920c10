// Command web is the guestbook's front end: it shows the messages that Redis keeps and
// which pod answered, and takes new ones.
package main

import (
	"context"
	"errors"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// version is the image's tag, set at build time.
var version = "dev"

const (
	key  = "guestbook"
	most = 100 // messages that are kept
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}li{margin:.3rem 0}footer{color:#777;font-size:.85rem}</style>
<h1>{{.Title}}</h1>
<form method="post"><input name="message" maxlength="200" required autofocus> <button>Sign</button></form>
<ul>{{range .Messages}}<li>{{.}}</li>{{else}}<li>no messages yet</li>{{end}}</ul>
<footer>answered by pod {{.Pod}}, version {{.Version}}</footer></html>
`))

type server struct {
	redis *redis.Client
	pod   string
	title string
}

func main() {
	s := &server{pod: os.Getenv("POD_NAME"), title: os.Getenv("TITLE"),
		redis: redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR"), Password: os.Getenv("REDIS_PASSWORD"), MaxRetries: 3})}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "seed" {
		if err := s.seed(ctx, os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	web := &http.Server{Addr: ":8080", Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		time.Sleep(time.Second) // those who balance load learn of our end a little later
		late, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := web.Shutdown(late); err != nil {
			log.Print(err)
		}
	}()
	log.Printf("guestbook %s on %s", version, web.Addr)
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.show)
	mux.HandleFunc("POST /{$}", s.sign)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.redis.Ping(r.Context()).Err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

func (s *server) show(w http.ResponseWriter, r *http.Request) {
	messages, err := s.redis.LRange(r.Context(), key, 0, most-1).Result()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Pod", s.pod)
	if err := page.Execute(w, map[string]any{"Title": s.title, "Messages": messages, "Pod": s.pod, "Version": version}); err != nil {
		log.Print(err)
	}
}

func (s *server) sign(w http.ResponseWriter, r *http.Request) {
	message := strings.TrimSpace(r.FormValue("message"))
	if message == "" || len(message) > 200 {
		http.Error(w, "a message has 1 to 200 characters", http.StatusBadRequest)
		return
	}
	if err := s.add(r.Context(), message); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *server) add(ctx context.Context, message string) error {
	_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.LPush(ctx, key, message)
		p.LTrim(ctx, key, 0, most-1)
		return nil
	})
	return err
}

// seed waits for Redis and signs the book with the given messages, once: a second run finds them.
func (s *server) seed(ctx context.Context, messages []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for s.redis.Ping(ctx).Err() != nil {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	first, err := s.redis.SetNX(ctx, key+":seeded", "yes", 0).Result()
	if err != nil || !first {
		return err
	}
	for _, m := range messages {
		if err := s.add(ctx, m); err != nil {
			return err
		}
	}
	log.Printf("signed %d times", len(messages))
	return nil
}
