//! An allocator that counts, so that targets can bound the memory an input may take.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes that this thread allocated and did not free.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// Largest single allocation since the last [`largest_of`] began, bytes.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// Bytes of all allocations of this thread.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(allocated: usize, freed: usize) {
    HELD.with(|held| held.set(held.get() + allocated.cast_signed() - freed.cast_signed()));
    LARGEST.with(|largest| largest.set(largest.get().max(allocated)));
    ALLOCATED.with(|all| all.set(all.get().wrapping_add(allocated)));
}

// SAFETY: each call goes to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the rules of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the rules of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the rules of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes, layout.size());
        // SAFETY: the caller keeps the rules of `GlobalAlloc::realloc`.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Bytes that this thread holds.
pub fn held() -> isize {
    HELD.with(Cell::get)
}

/// Runs `work` and returns its result with the largest single allocation, bytes.
pub fn largest_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.with(|largest| largest.set(0));
    let result = work();
    (result, LARGEST.with(Cell::get))
}

/// Runs `work` and returns its result with the bytes of all its allocations: what it costs, whatever the machine does.
pub fn allocated_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.with(Cell::get);
    let result = work();
    (result, ALLOCATED.with(Cell::get).wrapping_sub(before))
}
