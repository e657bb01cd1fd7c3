package ovstest_test

import (
	"context"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// start starts a lab that ends with the test.
func start(t *testing.T, cfg ovstest.Config) (context.Context, *ovstest.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cfg.Name = t.Name()
	lab, err := ovstest.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, lab
}

// guest adds a guest with nothing but a name.
func guest(ctx context.Context, t *testing.T, lab *ovstest.Lab, name string) *ovstest.Guest {
	t.Helper()
	return add(ctx, t, lab, ovstest.GuestConfig{Name: name})
}

func add(ctx context.Context, t *testing.T, lab *ovstest.Lab, cfg ovstest.GuestConfig) *ovstest.Guest {
	t.Helper()
	g, err := lab.AddGuest(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func capture(ctx context.Context, t *testing.T, g *ovstest.Guest) *ovstest.Capture {
	t.Helper()
	c, err := g.Capture(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func vsctl(ctx context.Context, t *testing.T, lab *ovstest.Lab, args ...string) string {
	t.Helper()
	out, err := lab.VSCtl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGuestsExchangeFrames(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	sent, err := ovstest.Exchange(ctx, a, b, 10)
	check(t, err)
	if len(sent) != 20 {
		t.Errorf("sent %d frames, want 20", len(sent))
	}
}
