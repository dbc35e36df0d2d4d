/* What C and POSIX say of malloc and its relations, held by assertions. */
#define _GNU_SOURCE
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

/* Not in every C library: found where the program is loaded. */
#define WEAK __attribute__((weak))
void cfree(void *pointer) WEAK;
void free_sized(void *pointer, size_t size) WEAK;
void free_aligned_sized(void *pointer, size_t align, size_t size) WEAK;
void *__libc_malloc(size_t size) WEAK;
void __libc_free(void *pointer) WEAK;
void *__libc_calloc(size_t count, size_t size) WEAK;
void *__libc_realloc(void *pointer, size_t size) WEAK;
void *__libc_memalign(size_t align, size_t size) WEAK;

#define MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)

static void *early;

__attribute__((constructor(101))) static void before_main(void) {
    early = malloc(1000);
    memset(early, 7, 1000);
}

__attribute__((destructor(101))) static void after_main(void) {
    void *late = realloc(early, 100000);
    MUST(((char *)late)[999] == 7);
    free(late);
}

static int is_aligned(void *pointer, size_t align) { return (uintptr_t)pointer % align == 0; }

static void sizes(void) {
    for (size_t size = 0; size < 70000; size += size < 300 ? 1 : 997) {
        char *block = malloc(size);
        MUST(block && malloc_usable_size(block) >= size);
        MUST(is_aligned(block, size <= 8 ? 8 : 16));
        memset(block, 1, malloc_usable_size(block));
        free_sized(block, size);
        char *zeroed = calloc(size, 3);
        for (size_t index = 0; index < size * 3; index++) MUST(zeroed[index] == 0);
        memset(zeroed, 1, size * 3);
        free(zeroed);
    }
    void *first = malloc(0), *second = malloc(0);
    MUST(first && second && first != second);
    free(first);
    cfree(second);
    free(NULL);
    free_sized(NULL, 8);
    MUST(malloc_usable_size(NULL) == 0);
}

static void errors(void) {
    volatile size_t much = (size_t)-1 - 100, half = (size_t)1 << 63;
    errno = 0;
    MUST(!malloc(much) && errno == ENOMEM);
    errno = 0;
    MUST(!calloc(half, 2) && errno == ENOMEM);
    errno = 0;
    MUST(!calloc(1, much) && errno == ENOMEM);
    void *block = malloc(10);
    memset(block, 3, 10);
    errno = 0;
    MUST(!realloc(block, much) && errno == ENOMEM);
    errno = 0;
    MUST(!reallocarray(block, half, 2) && errno == ENOMEM);
    MUST(((char *)block)[9] == 3);
    errno = 0;
    MUST(!aligned_alloc(48, 100) && errno == EINVAL);
    errno = 0;
    MUST(!memalign(64, much) && errno == ENOMEM);
    errno = 0;
    MUST(!pvalloc(much) && errno == ENOMEM);
    errno = 5;
    void *place = &place;
    MUST(posix_memalign(&place, 4, 100) == EINVAL && errno == 5 && place == &place);
    MUST(posix_memalign(&place, 48, 100) == EINVAL && posix_memalign(&place, 0, 1) == EINVAL);
    MUST(posix_memalign(&place, 64, much) == ENOMEM && errno == 5 && place == &place);
    /* What succeeds leaves errno alone. */
    for (int index = 0; index < 2000; index++) {
        void *some = malloc(index * 37);
        free(some);
        MUST(errno == 5);
    }
    free(malloc(64 << 20));
    MUST(errno == 5);
    MUST(!realloc(block, 0));
}

static void alignments(void) {
    for (size_t align = 8; align <= (8 << 20); align *= 2) {
        for (size_t size = 0; size < 200000; size = size * 3 + 1) {
            void *block;
            MUST(posix_memalign(&block, align, size) == 0 && is_aligned(block, align));
            memset(block, 1, malloc_usable_size(block));
            free(block);
            block = aligned_alloc(align, size);
            MUST(block && is_aligned(block, align));
            free_aligned_sized(block, align, size);
            block = memalign(align, size);
            MUST(block && is_aligned(block, align));
            memset(block, 5, size);
            block = realloc(block, size * 2 + 1);
            MUST(is_aligned(block, size * 2 + 1 <= 8 ? 8 : 16));
            for (size_t index = 0; index < size; index++) MUST(((char *)block)[index] == 5);
            free(block);
        }
    }
    void *odd = memalign(24, 100);
    MUST(is_aligned(odd, 32));
    free(odd);
    void *page = valloc(100), *pages = pvalloc(5000);
    MUST(is_aligned(page, 4096) && is_aligned(pages, 4096) && malloc_usable_size(pages) >= 8192);
    free(page);
    free(pages);
}

static void resizing(void) {
    char *block = NULL;
    size_t before = 0;
    for (size_t size = 1; size < (20 << 20); size += size / 3 + 1) {
        block = realloc(block, size);
        for (size_t index = 0; index < before; index += 61) MUST(block[index] == (char)index);
        for (size_t index = 0; index < size; index++) block[index] = (char)index;
        before = size;
    }
    while (before > 1) {
        before = before * 2 / 3;
        block = realloc(block, before);
        for (size_t index = 0; index < before; index += 61) MUST(block[index] == (char)index);
    }
    free(block);
    void *other = __libc_malloc(100);
    other = __libc_realloc(other, 1000);
    __libc_free(other);
    free(__libc_calloc(3, 5));
    __libc_free(__libc_memalign(64, 5));
}

static pthread_key_t last_key;

/* Comes back until the last round, and there uses the heap for the first time in its thread. */
static void in_last_round(void *value) {
    uintptr_t round = (uintptr_t)value;
    if (round < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(last_key, (void *)(round + 1));
        return;
    }
    for (int index = 0; index < 100; index++) free(malloc(index * 10));
}

static void *bare(void *argument) {
    pthread_setspecific(last_key, (void *)1);
    return argument;
}

static int bare_c11(void *argument) {
    pthread_setspecific(last_key, (void *)1);
    return *(int *)argument;
}

static void *worker(void *argument) {
    void *blocks[100];
    for (int round = 0; round < 50; round++) {
        for (int index = 0; index < 100; index++) {
            blocks[index] = malloc(index * 13);
            memset(blocks[index], round, index * 13);
        }
        for (int index = 0; index < 100; index++) free(blocks[index]);
    }
    return argument;
}

static void ending_threads(void) {
    for (int index = 0; index < 40; index++) {
        pthread_t thread;
        void *answer;
        /* Gone with the thread, and its thread-locals with it. */
        pthread_attr_t own;
        void *stack = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        pthread_attr_init(&own);
        MUST(stack != MAP_FAILED && pthread_attr_setstack(&own, stack, 1 << 18) == 0);
        MUST(pthread_create(&thread, &own, bare, &thread) == 0);
        MUST(pthread_join(thread, &answer) == 0 && answer == &thread);
        munmap(stack, 1 << 18);
        thrd_t other;
        int value = index, result;
        MUST(thrd_create(&other, bare_c11, &value) == thrd_success);
        MUST(thrd_join(other, &result) == thrd_success && result == index);
        /* Reclaims every cache that it knows, through the slots of their threads. */
        malloc_trim(0);
    }
    struct mallinfo2 info = mallinfo2();
    pthread_t threads[30];
    for (int index = 0; index < 30; index++)
        MUST(pthread_create(&threads[index], NULL, worker, NULL) == 0);
    for (int index = 0; index < 30; index++) {
        malloc_trim(0);
        pthread_join(threads[index], NULL);
    }
    /* Refused, and nothing is lost. */
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)1 << 46);
    pthread_t none;
    MUST(pthread_create(&none, &attributes, worker, NULL) != 0);
}

static void *cancelled(void *argument) {
    for (;;) free(malloc(100)), pthread_testcancel();
}

static void *leaving(void *argument) {
    free(malloc(1000));
    pthread_exit(argument);
}

static void cancelling(void) {
    pthread_t thread;
    void *answer;
    MUST(pthread_create(&thread, NULL, cancelled, NULL) == 0);
    usleep(1000);
    pthread_cancel(thread);
    MUST(pthread_join(thread, &answer) == 0 && answer == PTHREAD_CANCELED);
    MUST(pthread_create(&thread, NULL, leaving, &thread) == 0);
    MUST(pthread_join(thread, &answer) == 0 && answer == &thread);
}

static void trims(void) {
    malloc_trim(0);
    /* A second trim finds what the first one left, which is nothing. */
    MUST(malloc_trim(0) == 0);
    char *block = malloc(1 << 20);
    memset(block, 1, 1 << 20);
    free(block);
    MUST(malloc_trim(0) == 1);
    MUST(malloc_trim(0) == 0);
}

static void figures(void) {
    struct mallinfo2 before = mallinfo2();
    char *blocks[1000];
    for (int index = 0; index < 1000; index++) blocks[index] = malloc(1000);
    char *huge = malloc(16 << 20);
    struct mallinfo2 after = mallinfo2();
    size_t grown = after.uordblks - before.uordblks;
    MUST(grown >= 1000 * 1000 && grown <= 1100 * 1000);
    MUST(after.hblks == before.hblks + 1 && after.hblkhd >= before.hblkhd + (16 << 20));
    MUST(after.arena == after.uordblks + after.fordblks);
    MUST((int)after.uordblks == mallinfo().uordblks);
    free(huge);
    for (int index = 0; index < 1000; index++) free(blocks[index]);
    struct mallinfo2 last = mallinfo2();
    MUST(last.uordblks <= before.uordblks + 4096 && last.hblks == before.hblks);
}

static volatile int is_over;

/* Never has more than 100 blocks of at most 1000 bytes. */
static void *busy(void *argument) {
    void *blocks[100] = {0};
    for (unsigned index = 0; !is_over; index = index * 1103515245 + 12345) {
        void **block = &blocks[index / 65536 % 100];
        free(*block);
        *block = malloc(index / 65536 % 1000);
    }
    for (int index = 0; index < 100; index++) free(blocks[index]);
    return argument;
}

static void figures_meanwhile(void) {
    enum { THREADS = 6, BLOCKS = 8000, BYTES = 1008 };
    /* A moment passes between the first figure and the last, and with it batches of blocks. */
    const size_t slack = 2 << 20, busy_bytes = THREADS * 100 * 1100;
    static char *kept[BLOCKS];
    size_t before = mallinfo2().uordblks;
    for (int index = 0; index < BLOCKS; index++) kept[index] = malloc(BYTES);
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        MUST(pthread_create(&threads[index], NULL, busy, NULL) == 0);
    for (int round = 0; round < 200; round++) {
        struct mallinfo2 info = mallinfo2();
        size_t held = info.uordblks - before;
        MUST(held + slack >= BLOCKS * BYTES && held <= BLOCKS * 1024 + busy_bytes + slack);
        MUST(info.arena == info.uordblks + info.fordblks && info.fsmblks <= 64 << 20);
        FILE *nowhere = fopen("/dev/null", "w");
        MUST(malloc_info(0, nowhere) == 0);
        fclose(nowhere);
    }
    is_over = 1;
    for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
    for (int index = 0; index < BLOCKS; index++) free(kept[index]);
}

static void settings(void) {
    MUST(mallopt(M_ARENA_MAX, 2) == 1);
    MUST(mallopt(M_ARENA_MAX, 0) == 0 && mallopt(M_ARENA_MAX, -1) == 0);
    MUST(mallopt(M_ARENA_MAX, 100000) == 0);
    MUST(mallopt(M_TRIM_THRESHOLD, -1) == 1 && mallopt(M_TRIM_THRESHOLD, 128 << 10) == 1);
    MUST(mallopt(M_MMAP_THRESHOLD, 2 << 20) == 1 && mallopt(M_MMAP_THRESHOLD, 4096) == 0);
    MUST(mallopt(M_PERTURB, 0) == 1 && mallopt(M_PERTURB, 85) == 0);
    MUST(mallopt(M_TOP_PAD, 1 << 20) == 0 && mallopt(12345, 1) == 0);
}

static void forks(void) {
    void *block = malloc(100);
    pid_t child = fork();
    if (child == 0) {
        free(block);
        for (int index = 0; index < 1000; index++) free(malloc(index));
        worker(NULL);
        _exit(9);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    free(block);
}

static void loading(void) {
    void *library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    MUST(library && dlsym(library, "cos"));
    MUST(!dlopen("no-such-library.so", RTLD_NOW) && dlerror());
    dlclose(library);
}

int main(void) {
    MUST(early && ((char *)early)[999] == 7);
    MUST(pthread_key_create(&last_key, in_last_round) == 0);
    ending_threads();
    cancelling();
    sizes();
    errors();
    alignments();
    resizing();
    trims();
    figures();
    figures_meanwhile();
    settings();
    forks();
    loading();
    MUST(malloc_info(1, stdout) == EINVAL);
    MUST(malloc_info(0, stdout) == 0);
    puts("well");
    return 0;
}
