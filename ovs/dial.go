package ovs

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
)

// A Conn is a connection to one Open_vSwitch database.
type Conn struct {
	remote    string
	client    client.Client
	types     map[string]model.Model
	monitored bool
	starting  chan struct{} // closed when the start of a monitor has ended, nil if none was begun
	guests    guests
	log       *slog.Logger
	id        string // tells it from other connections
}

// Dial connects to the database that remote names and reads its schema. It
// returns before ctx ends, with an error that matches ErrRemote,
// ErrUnreachable, ErrPermission or ErrSchema if there is no usable database.
func Dial(ctx context.Context, remote string, files TLS, log *slog.Logger) (*Conn, error) {
	list, err := endpoints(remote)
	if err != nil {
		return nil, err
	}
	config, err := files.config()
	if err != nil {
		return nil, err
	}
	logger := logr.FromSlogHandler(log.Handler()).V(1)
	options := []client.Option{client.WithLogger(&logger), client.WithTLSConfig(config)}
	for _, endpoint := range list {
		if config == nil && endpoint[:4] == "ssl:" {
			return nil, fmt.Errorf("%w: %s needs --ca-cert, --certificate and --private-key", ErrRemote, endpoint)
		}
		options = append(options, client.WithEndpoint(endpoint))
	}
	connect := func(types map[string]model.Model) (client.Client, error) {
		database, err := model.NewClientDBModel(DatabaseName, types)
		if err != nil {
			return nil, err
		}
		c, err := client.NewOVSDBClient(database, options...)
		if err != nil {
			return nil, err
		}
		if err := c.Connect(ctx); err != nil {
			return nil, unreachable(remote, cmp.Or(ctx.Err(), err)) // the library loses the former
		}
		return c, nil
	}
	// The library checks row types against the schema when it connects, and
	// which types fit is known only from the schema: a first connection reads
	// it, with a type that every server fits.
	type anyRoot struct {
		UUID string `ovsdb:"_uuid"`
	}
	probe, err := connect(map[string]model.Model{vswitchd.OpenvSwitchTable: &anyRoot{}})
	if err != nil {
		return nil, err
	}
	schema := probe.Schema()
	probe.Close()
	types, err := rowTypes(schema)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", remote, err)
	}
	c, err := connect(types)
	if err != nil {
		return nil, err
	}
	return &Conn{remote: remote, client: c, types: types, log: log, id: rand.Text()}, nil
}

// Close ends the connection. One whose monitor has not been answered ends when it is, or no
// longer awaited.
func (c *Conn) Close() {
	c.guests.end()
	if c.starting == nil {
		c.client.Close()
		return
	}
	select {
	case <-c.starting:
		c.client.Close()
	default:
		go func() {
			<-c.starting
			c.client.Close()
		}()
	}
}

// transact sends one transaction. Its error matches ErrConflict, ErrRejected,
// ErrPermission or ErrUnreachable; with any of these but the last the database
// is as it was.
func (c *Conn) transact(ctx context.Context, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	results, err := c.client.Transact(ctx, ops...)
	if err != nil {
		return nil, unreachable(c.remote, err)
	}
	return results, outcome(results, ops)
}
