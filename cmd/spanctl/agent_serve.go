package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serve serves /metrics, /healthz and /readyz, where the settings say, until end is called.
func (g *agent) serve() (end func(), err error) {
	address := g.settings.GetString(keyListen)
	if address == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: --%s %s: %w", errUsage, keyListen, address, err)
	}
	log := g.log // a SIGHUP makes another
	log.Info("serves /metrics, /healthz and /readyz", "address", listener.Addr())
	server := &http.Server{Handler: g.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // who still reads has lost
	}, nil
}

func (g *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.state.metrics.registry, promhttp.HandlerOpts{}))
	answer := func(w http.ResponseWriter, problem string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if problem != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, problem+"\n")
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		now, problem := g.state.now(), ""
		if since := time.Since(now.last); since > now.patience {
			problem = fmt.Sprintf("nothing was done for %s", since.Round(time.Second))
		}
		answer(w, problem)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		now, problem := g.state.now(), ""
		switch {
		case !now.connected:
			problem = "the database is not connected"
		case !now.ready:
			problem = "the sessions have not been put in force yet"
		}
		answer(w, problem)
	})
	return mux
}
