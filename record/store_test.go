package record_test

import (
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/storetest"
)

func TestMemoryIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) record.Store { return record.NewMemory() })
}
