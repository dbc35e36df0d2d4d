/* Forks while threads allocate and while a handler of the program's own does, too. With an argument
   the handler is registered after the threads began. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, FORKS = 100 };

static atomic_int is_over, handled;

static void churn(unsigned seed) {
    void *blocks[64];
    for (int index = 0; index < 64; index++) {
        seed = seed * 1103515245 + 12345;
        blocks[index] = malloc(seed % 16 ? seed >> 8 & 4095 : seed >> 8 & 0xfffff);
    }
    for (int index = 0; index < 64; index++) free(blocks[index]);
}

static void *work(void *number) {
    for (unsigned round = 0; !atomic_load(&is_over); round++)
        churn(round * THREADS + (unsigned)(size_t)number);
    return NULL;
}

/* What other libraries do to be ready for a fork; a size of its own meets no cache. */
static void handler(void) {
    static int size = 20000;
    atomic_fetch_add(&handled, 1);
    free(malloc(size += 640));
    churn(7);
}

/* A child that hangs in a handler has no alarm of its own. */
static void end_all(int signal) {
    (void)signal;
    kill(0, SIGKILL);
}

int main(int count, char **arguments) {
    (void)arguments;
    setpgid(0, 0);
    signal(SIGALRM, end_all);
    /* A fork of one thread, before anything was asked for. */
    pid_t alone = fork();
    if (!alone) {
        churn(1);
        _exit(0);
    }
    int status;
    if (waitpid(alone, &status, 0) != alone || status) return 3;
    alarm(60);
    pthread_t threads[THREADS];
    if (count < 2) pthread_atfork(handler, handler, handler);
    for (size_t number = 0; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, work, (void *)number)) return 4;
    if (count >= 2) pthread_atfork(handler, handler, handler);
    for (int round = 0; round < FORKS; round++) {
        pid_t child = fork();
        if (!child) {
            pthread_t thread;
            atomic_store(&is_over, 1);
            for (int index = 0; index < 4; index++) churn(index);
            if (pthread_create(&thread, NULL, work, NULL) || pthread_join(thread, NULL)) _exit(5);
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status) return 6;
    }
    atomic_store(&is_over, 1);
    for (int number = 0; number < THREADS; number++) pthread_join(threads[number], NULL);
    printf("%d\n", atomic_load(&handled));
    return 0;
}
