package migrate

import "errors"

// ErrRefused indicates that a bridge cannot be migrated as it is. Nothing was changed.
var ErrRefused = errors.New("the bridge cannot be migrated")

// ErrNoBridge indicates that there is no Linux bridge of that name.
var ErrNoBridge = errors.New("no Linux bridge of that name")

// ErrNoMigration indicates that the bridge was not migrated by spanctl, or that this is over.
var ErrNoMigration = errors.New("nothing of this bridge's migration is on disk")

// ErrUnfinished indicates that a migration of the bridge is under way, or was left half done.
var ErrUnfinished = errors.New("a migration of this bridge is unfinished")

// ErrNotConfirmed indicates that nobody confirmed in time, and that everything was put back.
var ErrNotConfirmed = errors.New("not confirmed in time; everything was put back")

// ErrDiffers indicates that what is there after a step is not what was wanted.
var ErrDiffers = errors.New("not as wanted")
