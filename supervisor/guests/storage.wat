;; A small storage service: objects of any size under keys of bytes, in a linear memory that grows
;; and never shrinks. It stands for a program that leaks: `leak` loses as many bytes as it is told.
;;
;; The host writes a request's bytes where `reserve` says, then calls `put`, `get` or `delete`.
;; Every pointer is an offset into `memory`, every number of bytes an i32 that is read as unsigned.
;; Whatever runs out of memory answers so and leaves everything as it was.
;;
;; The memory:
;;
;;      0 ..    16   nothing: no pointer is null
;;     16 ..   144   free lists: 32 heads, list n holds blocks of 2^n to 2^(n+1)-1 bytes
;;   1024 .. 17408   table of objects: 4096 chains
;;  17408 ..   end   blocks, one after another without a gap, then the end mark
;;
;; A block, used or free, begins at a multiple of 8:
;;
;;      0   its length with this header, a multiple of 8, at least 16; bit 0 is set while it is used
;;      4   the length of the block before it, 0 for the first
;;      8   used: the caller's bytes                free: the next block of its list
;;     12                                                 the one before it in its list, or 0
;;
;; The end mark is a used block of 8 bytes. The memory has at most 65,535 pages, so that no sum of a
;; pointer and a length within it passes 2^32.
;;
;; An object:
;;
;;      0   the next object of its chain
;;      4   its key's hash
;;      8   bytes of the key
;;     12   bytes of the value
;;     16   the key, then the value
(module
  (memory (export "memory") 1 65535)

  ;; Bytes of keys and values of all objects, how many objects, and what `leak` has lost.
  (global $stored_bytes (mut i64) (i64.const 0))
  (global $objects (mut i32) (i32.const 0))
  (global $leaked_bytes (mut i64) (i64.const 0))
  ;; The block that `reserve` handed out last, or 0, and how many bytes of it are the host's.
  (global $request (mut i32) (i32.const 0))
  (global $request_bytes (mut i32) (i32.const 0))
  ;; The end mark.
  (global $end (mut i32) (i32.const 0))

  ;; ---- Blocks ------------------------------------------------------------------------------

  ;; Makes one free block of the first page, behind the tables.
  (func $start
    (i32.store (i32.const 17408) (i32.const 48120))
    (i32.store offset=4 (i32.const 17408) (i32.const 0))
    (call $link (i32.const 17408))
    (global.set $end (i32.const 65528))
    (i32.store (i32.const 65528) (i32.const 9))
    (i32.store offset=4 (i32.const 65528) (i32.const 48120)))
  (start $start)

  ;; A block's length, without the bit.
  (func $length (param $block i32) (result i32)
    (i32.and (i32.load (local.get $block)) (i32.const -8)))

  (func $is_used (param $block i32) (result i32)
    (i32.and (i32.load (local.get $block)) (i32.const 1)))

  ;; The head of the free list for blocks of so many bytes.
  (func $head_of (param $bytes i32) (result i32)
    (i32.add (i32.const 16)
      (i32.shl (i32.sub (i32.const 31) (i32.clz (local.get $bytes))) (i32.const 2))))

  ;; Puts a free block in front of its list.
  (func $link (param $block i32)
    (local $head i32) (local $next i32)
    (local.set $head (call $head_of (call $length (local.get $block))))
    (local.set $next (i32.load (local.get $head)))
    (i32.store offset=8 (local.get $block) (local.get $next))
    (i32.store offset=12 (local.get $block) (i32.const 0))
    (if (local.get $next)
      (then (i32.store offset=12 (local.get $next) (local.get $block))))
    (i32.store (local.get $head) (local.get $block)))

  ;; Takes a free block off its list.
  (func $unlink (param $block i32)
    (local $next i32) (local $previous i32)
    (local.set $next (i32.load offset=8 (local.get $block)))
    (local.set $previous (i32.load offset=12 (local.get $block)))
    (if (local.get $next)
      (then (i32.store offset=12 (local.get $next) (local.get $previous))))
    (if (local.get $previous)
      (then (i32.store offset=8 (local.get $previous) (local.get $next)))
      (else
        (i32.store (call $head_of (call $length (local.get $block))) (local.get $next)))))

  ;; Writes a block's length and bit, and tells the block behind it of the length.
  (func $set_length (param $block i32) (param $bytes i32) (param $used i32)
    (i32.store (local.get $block) (i32.or (local.get $bytes) (local.get $used)))
    (i32.store offset=4 (i32.add (local.get $block) (local.get $bytes)) (local.get $bytes)))

  ;; Makes a block free that is on no list, joined with free neighbours.
  (func $set_free (param $block i32)
    (local $bytes i32) (local $other i32) (local $before_bytes i32)
    (local.set $bytes (call $length (local.get $block)))
    (local.set $other (i32.add (local.get $block) (local.get $bytes)))
    (if (i32.eqz (call $is_used (local.get $other)))
      (then
        (call $unlink (local.get $other))
        (local.set $bytes (i32.add (local.get $bytes) (call $length (local.get $other))))))
    (local.set $before_bytes (i32.load offset=4 (local.get $block)))
    (if (local.get $before_bytes)
      (then
        (local.set $other (i32.sub (local.get $block) (local.get $before_bytes)))
        (if (i32.eqz (call $is_used (local.get $other)))
          (then
            (call $unlink (local.get $other))
            (local.set $bytes (i32.add (local.get $bytes) (local.get $before_bytes)))
            (local.set $block (local.get $other))))))
    (call $set_length (local.get $block) (local.get $bytes) (i32.const 0))
    (call $link (local.get $block)))

  ;; The first block of a list with at least so many bytes, or 0.
  (func $first_in (param $head i32) (param $bytes i32) (result i32)
    (local $block i32)
    (local.set $block (i32.load (local.get $head)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $block)))
        (br_if $done (i32.ge_u (call $length (local.get $block)) (local.get $bytes)))
        (local.set $block (i32.load offset=8 (local.get $block)))
        (br $next)))
    (local.get $block))

  ;; A free block of at least so many bytes from the lists, or 0: in the list of its own size any
  ;; may be too short, in those above the first one will do.
  (func $find_block (param $bytes i32) (result i32)
    (local $head i32) (local $block i32)
    (local.set $head (call $head_of (local.get $bytes)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $head) (i32.const 144)))
        (local.set $block (call $first_in (local.get $head) (local.get $bytes)))
        (br_if $done (local.get $block))
        (local.set $head (i32.add (local.get $head) (i32.const 4)))
        (br $next)))
    (local.get $block))

  ;; Grows the memory until the free block at its end has so many bytes; answers that block, or 0
  ;; where the host refuses.
  (func $grow (param $bytes i32) (result i32)
    (local $last i32) (local $more i32) (local $end i32)
    (local.set $end (global.get $end))
    (local.set $last
      (i32.sub (local.get $end) (i32.load offset=4 (local.get $end))))
    (local.set $more (local.get $bytes))
    (if (i32.eqz (call $is_used (local.get $last)))
      (then
        (local.set $more (i32.sub (local.get $bytes) (call $length (local.get $last))))))
    ;; Whole pages; `bytes` is at most 2^31 and so the sum does not wrap.
    (local.set $more
      (i32.and (i32.add (local.get $more) (i32.const 65535)) (i32.const -65536)))
    (if (i32.eq (memory.grow (i32.shr_u (local.get $more) (i32.const 16))) (i32.const -1))
      (then (return (i32.const 0))))
    ;; The old end mark becomes the header of what came, and a new one is written behind it.
    (global.set $end (i32.add (local.get $end) (local.get $more)))
    (i32.store (global.get $end) (i32.const 9))
    (call $set_length (local.get $end) (local.get $more) (i32.const 1))
    (call $set_free (local.get $end))
    (i32.sub (global.get $end) (i32.load offset=4 (global.get $end))))

  ;; So many bytes at a multiple of 8, or 0 where there is no memory for them.
  (func $malloc (param $size i32) (result i32)
    (local $bytes i32) (local $block i32) (local $rest i32)
    (if (i32.gt_u (local.get $size) (i32.const 0x7ff00000))
      (then (return (i32.const 0))))
    (local.set $bytes
      (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8)))
    (if (i32.lt_u (local.get $bytes) (i32.const 16))
      (then (local.set $bytes (i32.const 16))))
    (local.set $block (call $find_block (local.get $bytes)))
    (if (i32.eqz (local.get $block))
      (then
        (local.set $block (call $grow (local.get $bytes)))
        (if (i32.eqz (local.get $block))
          (then (return (i32.const 0))))))
    (call $unlink (local.get $block))
    ;; What is left behind becomes a block of its own, unless it is too short for one.
    (local.set $rest (i32.sub (call $length (local.get $block)) (local.get $bytes)))
    (if (i32.ge_u (local.get $rest) (i32.const 16))
      (then
        (call $set_length (local.get $block) (local.get $bytes) (i32.const 1))
        (call $set_length (i32.add (local.get $block) (local.get $bytes))
          (local.get $rest) (i32.const 0))
        (call $link (i32.add (local.get $block) (local.get $bytes))))
      (else
        (call $set_length (local.get $block) (call $length (local.get $block))
          (i32.const 1))))
    (i32.add (local.get $block) (i32.const 8)))

  (func $free (param $pointer i32)
    (call $set_free (i32.sub (local.get $pointer) (i32.const 8))))

  ;; ---- Objects -----------------------------------------------------------------------------

  ;; FNV-1a of a key.
  (func $hash (param $key i32) (param $bytes i32) (result i32)
    (local $hash i32) (local $end i32)
    (local.set $hash (i32.const 0x811c9dc5))
    (local.set $end (i32.add (local.get $key) (local.get $bytes)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $key) (local.get $end)))
        (local.set $hash
          (i32.mul (i32.xor (local.get $hash) (i32.load8_u (local.get $key)))
            (i32.const 0x01000193)))
        (local.set $key (i32.add (local.get $key) (i32.const 1)))
        (br $next)))
    (local.get $hash))

  ;; Where the first object of a hash's chain is named. FNV's low bits are its best.
  (func $chain_of (param $hash i32) (result i32)
    (i32.add (i32.const 1024)
      (i32.shl (i32.and (local.get $hash) (i32.const 4095)) (i32.const 2))))

  (func $is_same (param $one i32) (param $other i32) (param $bytes i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $one) (local.get $bytes)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $one) (local.get $end)))
        (if (i32.ne (i32.load8_u (local.get $one)) (i32.load8_u (local.get $other)))
          (then (return (i32.const 0))))
        (local.set $one (i32.add (local.get $one) (i32.const 1)))
        (local.set $other (i32.add (local.get $other) (i32.const 1)))
        (br $next)))
    (i32.const 1))

  ;; Where the object of a key is named: in the head of its chain or in the object before it. It
  ;; holds 0 where there is none, and is then the chain's last.
  (func $find (param $key i32) (param $bytes i32) (param $hash i32) (result i32)
    (local $place i32) (local $object i32)
    (local.set $place (call $chain_of (local.get $hash)))
    (block $done
      (loop $next
        (local.set $object (i32.load (local.get $place)))
        (br_if $done (i32.eqz (local.get $object)))
        (if (i32.and
              (i32.eq (i32.load offset=4 (local.get $object)) (local.get $hash))
              (i32.eq (i32.load offset=8 (local.get $object)) (local.get $bytes)))
          (then
            (br_if $done
              (call $is_same (i32.add (local.get $object) (i32.const 16))
                (local.get $key) (local.get $bytes)))))
        (local.set $place (local.get $object))
        (br $next)))
    (local.get $place))

  ;; Bytes of an object's key and value.
  (func $object_bytes (param $object i32) (result i64)
    (i64.add
      (i64.extend_i32_u (i32.load offset=8 (local.get $object)))
      (i64.extend_i32_u (i32.load offset=12 (local.get $object)))))

  ;; Takes the object named at a place off its chain and frees it.
  (func $remove (param $place i32)
    (local $object i32)
    (local.set $object (i32.load (local.get $place)))
    (global.set $stored_bytes
      (i64.sub (global.get $stored_bytes) (call $object_bytes (local.get $object))))
    (global.set $objects (i32.sub (global.get $objects) (i32.const 1)))
    (i32.store (local.get $place) (i32.load (local.get $object)))
    (call $free (local.get $object)))

  ;; ---- What the host calls -----------------------------------------------------------------

  ;; So many bytes for a request, or 0 where there is no memory for them. They are the host's until
  ;; the next call of `reserve`; the one before is given up. A longer one is kept for the next.
  (func (export "reserve") (param $bytes i32) (result i32)
    (if (i32.or (i32.eqz (global.get $request))
          (i32.gt_u (local.get $bytes) (global.get $request_bytes)))
      (then
        (if (global.get $request)
          (then (call $free (global.get $request))))
        (global.set $request_bytes (i32.const 0))
        (global.set $request (call $malloc (local.get $bytes)))
        (if (global.get $request)
          (then (global.set $request_bytes (local.get $bytes))))))
    (global.get $request))

  ;; Stores a value under a key: 0 where the key is new, 1 where a value was replaced, -1 where there
  ;; is no memory, and the value from before is then still there.
  (func (export "put")
    (param $key i32) (param $key_bytes i32) (param $value i32) (param $value_bytes i32)
    (result i32)
    (local $hash i32) (local $place i32) (local $object i32) (local $total i64)
    (local.set $hash (call $hash (local.get $key) (local.get $key_bytes)))
    (local.set $place (call $find (local.get $key) (local.get $key_bytes) (local.get $hash)))
    (local.set $object (i32.load (local.get $place)))
    ;; A value of the same length takes the place of the one before it.
    (if (local.get $object)
      (then
        (if (i32.eq (i32.load offset=12 (local.get $object)) (local.get $value_bytes))
          (then
            (memory.copy
              (i32.add (i32.add (local.get $object) (i32.const 16)) (local.get $key_bytes))
              (local.get $value) (local.get $value_bytes))
            (return (i32.const 1))))))
    (local.set $total
      (i64.add (i64.const 16)
        (i64.add (i64.extend_i32_u (local.get $key_bytes))
          (i64.extend_i32_u (local.get $value_bytes)))))
    (if (i64.gt_u (local.get $total) (i64.const 0x7ff00000))
      (then (return (i32.const -1))))
    (local.set $object (call $malloc (i32.wrap_i64 (local.get $total))))
    (if (i32.eqz (local.get $object))
      (then (return (i32.const -1))))
    (i32.store offset=4 (local.get $object) (local.get $hash))
    (i32.store offset=8 (local.get $object) (local.get $key_bytes))
    (i32.store offset=12 (local.get $object) (local.get $value_bytes))
    (memory.copy (i32.add (local.get $object) (i32.const 16))
      (local.get $key) (local.get $key_bytes))
    (memory.copy
      (i32.add (i32.add (local.get $object) (i32.const 16)) (local.get $key_bytes))
      (local.get $value) (local.get $value_bytes))
    (global.set $stored_bytes
      (i64.add (global.get $stored_bytes) (call $object_bytes (local.get $object))))
    (global.set $objects (i32.add (global.get $objects) (i32.const 1)))
    ;; The new object goes to its place first, and the one it replaces is then named by it.
    (i32.store (local.get $object) (i32.load (local.get $place)))
    (i32.store (local.get $place) (local.get $object))
    (if (i32.eqz (i32.load (local.get $object)))
      (then (return (i32.const 0))))
    (call $remove (local.get $object))
    (i32.const 1))

  ;; Where the value of a key lies, in the upper 32 bits, and its bytes in the lower; -1 where there
  ;; is none. It is there until the next call of anything else.
  (func (export "get") (param $key i32) (param $key_bytes i32) (result i64)
    (local $object i32)
    (local.set $object
      (i32.load
        (call $find (local.get $key) (local.get $key_bytes)
          (call $hash (local.get $key) (local.get $key_bytes)))))
    (if (i32.eqz (local.get $object))
      (then (return (i64.const -1))))
    (i64.or
      (i64.shl
        (i64.extend_i32_u
          (i32.add (i32.add (local.get $object) (i32.const 16)) (local.get $key_bytes)))
        (i64.const 32))
      (i64.extend_i32_u (i32.load offset=12 (local.get $object)))))

  ;; Forgets a key: 1, or 0 where there was no such key.
  (func (export "delete") (param $key i32) (param $key_bytes i32) (result i32)
    (local $place i32)
    (local.set $place
      (call $find (local.get $key) (local.get $key_bytes)
        (call $hash (local.get $key) (local.get $key_bytes))))
    (if (i32.eqz (i32.load (local.get $place)))
      (then (return (i32.const 0))))
    (call $remove (local.get $place))
    (i32.const 1))

  ;; Loses so many bytes: a block that is written to and that nobody knows of. 0, or -1 where there
  ;; is no memory for them.
  (func (export "leak") (param $bytes i32) (result i32)
    (local $block i32)
    (local.set $block (call $malloc (local.get $bytes)))
    (if (i32.eqz (local.get $block))
      (then (return (i32.const -1))))
    (memory.fill (local.get $block) (i32.const 0xa5) (local.get $bytes))
    (global.set $leaked_bytes
      (i64.add (global.get $leaked_bytes) (i64.extend_i32_u (local.get $bytes))))
    (i32.const 0))

  ;; Never returns: a guest that hangs, for tests.
  (func (export "hang")
    (loop $for_ever (br $for_ever)))

  (func (export "objects") (result i32) (global.get $objects))
  (func (export "stored_bytes") (result i64) (global.get $stored_bytes))
  (func (export "leaked_bytes") (result i64) (global.get $leaked_bytes))

  ;; Walks all blocks and lists: 0, or the number of the first rule that is broken.
  (func (export "check") (result i32)
    (local $block i32) (local $bytes i32) (local $before i32)
    (local $free i32) (local $listed i32) (local $head i32) (local $was_free i32)
    (local.set $block (i32.const 17408))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $block) (global.get $end)))
        (local.set $bytes (call $length (local.get $block)))
        ;; 1: no block is shorter than the shortest, or passes the end mark.
        (if (i32.or (i32.lt_u (local.get $bytes) (i32.const 16))
              (i32.gt_u (local.get $bytes)
                (i32.sub (global.get $end) (local.get $block))))
          (then (return (i32.const 1))))
        ;; 2: each knows the length of the one before it.
        (if (i32.ne (i32.load offset=4 (local.get $block)) (local.get $before))
          (then (return (i32.const 2))))
        (if (call $is_used (local.get $block))
          (then (local.set $was_free (i32.const 0)))
          (else
            ;; 3: free neighbours are one block.
            (if (local.get $was_free)
              (then (return (i32.const 3))))
            (local.set $was_free (i32.const 1))
            (local.set $free (i32.add (local.get $free) (i32.const 1)))))
        (local.set $before (local.get $bytes))
        (local.set $block (i32.add (local.get $block) (local.get $bytes)))
        (br $next)))
    ;; 4: the end mark is the memory's last 8 bytes and knows the last block.
    (if (i32.or (i32.ne (i32.load offset=4 (local.get $block)) (local.get $before))
          (i32.ne (i32.add (local.get $block) (i32.const 8))
            (i32.shl (memory.size) (i32.const 16))))
      (then (return (i32.const 4))))
    ;; 5 and 6: every free block is on the list of its length, and nothing else is.
    (local.set $head (i32.const 16))
    (block $counted
      (loop $next_list
        (br_if $counted (i32.eq (local.get $head) (i32.const 144)))
        (local.set $block (i32.load (local.get $head)))
        (block $list_done
          (loop $next_block
            (br_if $list_done (i32.eqz (local.get $block)))
            (if (i32.or (call $is_used (local.get $block))
                  (i32.ne (call $head_of (call $length (local.get $block)))
                    (local.get $head)))
              (then (return (i32.const 5))))
            (local.set $listed (i32.add (local.get $listed) (i32.const 1)))
            (local.set $block (i32.load offset=8 (local.get $block)))
            (br $next_block)))
        (local.set $head (i32.add (local.get $head) (i32.const 4)))
        (br $next_list)))
    (if (i32.ne (local.get $listed) (local.get $free))
      (then (return (i32.const 6))))
    (i32.const 0)))
